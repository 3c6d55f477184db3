"""The last lines of what each worker of a segment has logged, kept in the storage where `raystudy logs` finds them."""

import logging
import os
import platform
import time
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from raystudy.errors import PreemptedError, StorageError
from raystudy.store import Store

LINES = 200
"""Kept of each worker, of all its attempts together."""

LINE_LENGTH = 500
FLUSH_S = 10.0
"""A worker that is killed loses what it logged since the last time."""


class _Tail(logging.Handler):
    """The last lines, written to the storage now and then."""

    def __init__(self, store: Store, place: str) -> None:
        super().__init__(level=logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._store, self._place = store, place
        content = store.files.read(place) or b""
        self._lines = deque(content.decode(errors="replace").splitlines(), maxlen=LINES)
        self._flushed = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.add(self.format(record))
        except Exception:
            self.handleError(record)

    def add(self, text: str) -> None:
        """Some lines."""
        self._lines.extend(line[:LINE_LENGTH] for line in text.splitlines())
        if time.monotonic() - self._flushed > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Write them; a storage that fails costs the lines and not the trial."""
        self._flushed = time.monotonic()
        with suppress(StorageError, OSError):
            self._store.files.write(self._place, ("\n".join(self._lines) + "\n").encode())


@contextmanager
def kept_log(store: Store, segment_id: str, rank: int) -> Iterator[None]:
    """Keep what is logged or warned of in this process, and the traceback of what ends it."""
    tail, root = _Tail(store, _place(segment_id, rank)), logging.getLogger()
    began = time.strftime("%Y-%m-%d %H:%M:%S")
    tail.add(f"{began} worker {rank} begins on {platform.node()}, process {os.getpid()}")
    tail.flush()
    logging.captureWarnings(True)
    root.addHandler(tail)
    try:
        yield
    except PreemptedError as error:
        tail.add(str(error))
        raise
    except Exception as error:
        tail.add(traceback.format_exc())
        store.segment(segment_id).log("error", rank=rank, error=f"{type(error).__name__}: {error}"[:LINE_LENGTH])
        raise
    finally:
        root.removeHandler(tail)
        logging.captureWarnings(False)
        tail.flush()


def last_lines(store: Store, segment_id: str, lines: int) -> dict[int, list[str]]:
    """The last ``lines`` lines of each worker of a segment, by rank."""
    names = store.files.names(f"logs/{segment_id}")
    ranks = sorted(int(name.removesuffix(".txt")) for name in names if name.removesuffix(".txt").isdecimal())
    found = {}
    for rank in ranks:
        content = store.files.read(_place(segment_id, rank)) or b""
        found[rank] = content.decode(errors="replace").splitlines()[-lines:]
    return found


def _place(segment_id: str, rank: int) -> str:
    return f"logs/{segment_id}/{rank}.txt"
