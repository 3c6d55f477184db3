"""The process that wandb keeps beside ours, ended within a bound."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import wandb

END_TIMEOUT_S = 10.0
"""It takes less than a second: runs have been finished, or given up, by then."""

SETTLE_S = 0.3
"""Before it is told to end, it may answer requests that were cancelled. wandb closes the connection right behind the
word; a service that is just writing an answer then fails, and ends the connection without having read the word."""

_logger = logging.getLogger(__name__)


def end_service(timeout_s: float = END_TIMEOUT_S) -> bool:
    """End wandb's service, which is started anew when it is needed; whether it has ended in time.

    wandb itself waits for it without a bound, also when our own process ends, and so for ever for one that has not got
    the word. One that is left behind ends with our process, and nobody waits for it any more.
    """
    time.sleep(SETTLE_S)
    thread = threading.Thread(target=wandb.teardown, name="end of wandb", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        _logger.warning("wandb's service has not ended within %g s and is left to itself", timeout_s)
    return not thread.is_alive()


@contextmanager
def service_ended() -> Iterator[None]:
    """Whatever happens in it, wandb's service has been ended afterwards."""
    try:
        yield
    finally:
        end_service()
