import sys
from pathlib import Path

import pytest

from raystudy.training.memory import release_unused_memory


def _held_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_gaps_in_the_heap_are_given_back() -> None:
    blocks = [bytearray(b"x") * 60_000 for _ in range(4_000)]  # each too small to be mapped on its own
    last = bytearray(b"x") * 60_000  # keeps the top of the heap in use, so that nothing goes back by itself
    held = _held_kib()
    del blocks
    release_unused_memory()
    assert _held_kib() < held - 150_000
    assert last
