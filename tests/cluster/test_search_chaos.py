"""SIGKILL to a search's driver in the middle of it, on a real Ray: started again, it ends as if nothing had been."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raystudy.store import Store
from tests.cluster.test_search import trained_iterations
from tests.cluster.tiny_searches import run_in_process, tiny_search

pytestmark = pytest.mark.chaos

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 600


def _start(storage: Path) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    with open(storage.parent / "output.txt", "ab") as output:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "cluster" / "killed_search.py"), str(storage)],
            env=environment,
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )


def test_a_search_whose_driver_was_killed_ends_as_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, deadline = tmp_path / "s", time.monotonic() + TIMEOUT_S
    process = _start(storage)
    ended = 0
    while ended < 2:  # of six
        assert process.poll() is None, (tmp_path / "output.txt").read_text()[-3000:]
        assert time.monotonic() < deadline, (tmp_path / "output.txt").read_text()[-3000:]
        record = Store.open_unchecked(storage).read_search("tiny")
        ended = 0 if record is None else sum(not trial.is_open for trial in record.trials)
        time.sleep(0.05)
    process.kill()
    process.wait()
    again = _start(storage)
    assert again.wait(TIMEOUT_S) == 0, (tmp_path / "output.txt").read_text()[-3000:]
    found = Store.open_unchecked(storage).read_search("tiny")
    assert found is not None
    undisturbed = run_in_process(tiny_search(), tmp_path / "undisturbed", monkeypatch)
    assert found == undisturbed
    assert trained_iterations(storage) == found.trained_iterations("random")
