"""A storage that fails for a while is waited for."""

import os
import random
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 120.0
"""How long; ``$RAYSTUDY_STORAGE_PATIENCE_S`` says otherwise."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0

Answer = TypeVar("Answer")


def patience_s() -> float:
    """How long a storage that fails is waited for."""
    return float(os.environ.get("RAYSTUDY_STORAGE_PATIENCE_S") or PATIENCE_S)


def tried(call: Callable[[], Answer], may_pass: Callable[[Exception], bool], patience: float | None = None) -> Answer:
    """What ``call`` returns, called again with growing pauses while it raises what may pass; then its last error."""
    began = time.monotonic()
    pause = FIRST_PAUSE_S
    while True:
        try:
            return call()
        except Exception as error:
            longest = patience_s() if patience is None else patience
            if not may_pass(error) or time.monotonic() + pause > began + longest:
                raise
        time.sleep(pause * random.uniform(0.5, 1.0))  # not all at once when the storage is back
        pause = min(2 * pause, LONGEST_PAUSE_S)
