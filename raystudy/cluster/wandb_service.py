"""The process that wandb keeps beside ours, ended within a bound."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import wandb

END_TIMEOUT_S = 60.0
"""As long as a run may wait for its last rows (``TrackingSettings.finish_timeout_s``)."""

_logger = logging.getLogger(__name__)


def end_service(timeout_s: float = END_TIMEOUT_S) -> bool:
    """End wandb's service, which is started anew when it is needed; whether it has ended in time.

    wandb waits for it without a bound, also when our own process ends. One that is left behind is not waited for any
    more and ends with our process; what it has not sent lies on disk.
    """
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
