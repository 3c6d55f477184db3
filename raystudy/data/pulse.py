"""When this process got its last batch: the pulse of training, validation and pre-training."""

import time

_last: float | None = None


def beat() -> None:
    """A batch is here."""
    global _last
    _last = time.monotonic()


def rest() -> None:
    """Nothing is at work that wants batches."""
    global _last
    _last = None


def silent_s() -> float:
    """Seconds since the last beat; 0 before the first one."""
    return 0.0 if _last is None else time.monotonic() - _last
