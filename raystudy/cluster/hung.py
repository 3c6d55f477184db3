"""A training process that hangs ends itself, so that its node is handed out again as after any other death.

Workers of one trial notice when one of them hangs; nobody but the process itself can notice it of a trial of one
worker, or of workers that all wait for something else: a file system, a driver, a process that decodes.
"""

import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from raystudy.data import pulse

EXIT_STATUS = 70
"""Of a process that has hung: an internal error, in the words of sysexits.h."""

POLL_S = 1.0

TELL_S = 10.0
"""How long what it was at may take to be told: what it hangs at may be the log's own storage."""

_logger = logging.getLogger(__name__)


@contextmanager
def ends_when_hung(limit_s: float, *, poll_s: float = POLL_S, end: Callable[[int], None] = os._exit) -> Iterator[None]:
    """End this process when it gets no batch for ``limit_s``, counted from its first one; its log says where it hung.

    Args:
        limit_s: longer than anything between two batches takes: a checkpoint, the metrics of a validation, the start
            of a compiled model. 0 waits for ever.
        poll_s: between two looks.
        end: how the process ends, whatever its other threads are at.
    """
    over, trains = threading.Event(), threading.get_ident()

    def watch() -> None:
        while not over.wait(poll_s):
            if pulse.silent_s() > limit_s:
                telling = threading.Thread(target=_tell, args=(limit_s, trains), daemon=True)
                telling.start()
                telling.join(TELL_S)
                end(EXIT_STATUS)
                return

    pulse.rest()
    if limit_s:
        threading.Thread(target=watch, daemon=True, name="hung").start()
    try:
        yield
    finally:
        over.set()
        pulse.rest()


def _tell(limit_s: float, trains: int) -> None:
    """In the log, of which the storage keeps the last lines: the thread that trains comes last."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()
    frames.pop(threading.get_ident(), None)
    last = frames.pop(trains, None)
    stacks = [_stack(str(names.get(identifier, identifier)), frame) for identifier, frame in frames.items()]
    if last is not None:
        stacks.append(_stack("that trains", last))
    said = "".join(stacks)
    _logger.error("no batch for %g s: this process hangs and ends, to be started again; it was at\n%s", limit_s, said)
    for handler in logging.getLogger().handlers:
        handler.flush()


def _stack(name: str, frame: FrameType) -> str:
    return f"thread {name}:\n{''.join(traceback.format_stack(frame))}"
