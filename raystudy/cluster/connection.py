"""A connection to Ray: the cluster that ``RAY_ADDRESS`` names, or one of this process's own."""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raystudy.errors import ClusterError
from raystudy.training.memory import LARGE_PAGES

logger = logging.getLogger(__name__)


@contextmanager
def connection(*, nested: bool) -> Iterator[None]:
    """A connection to the running cluster, or a local one for as long as it is needed.

    Args:
        nested: whether nodes run in groups of workers.
    """
    prepare_environment()
    import ray

    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    else:
        _start_local(nested=nested)
    try:
        yield
    finally:
        ray.shutdown()


def _start_local(*, nested: bool) -> None:
    """A Ray of this process's own. Ray itself waits half a minute for it, which a busy machine may exceed."""
    import ray

    for is_last in (False, True):
        try:
            # The dashboard is what lets Train clean up after a driver that died; without nested runs none is needed.
            ray.init(
                address="local",
                include_dashboard=nested,
                log_to_driver=False,
                logging_level=logging.WARNING,
                _temp_dir=_short_temporary_folder(),
            )
            return
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            if is_last:
                raise ClusterError("Ray did not start in time, twice: this machine is too busy; try again") from error
            logger.warning("Ray did not start in time: trying once more")
            ray.shutdown()


def prepare_environment() -> None:
    """Settings of Ray and torch that they read when they are imported or started."""
    defaults = {
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
        "RAY_TRAIN_METRICS_ENABLED": "0",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # our storage is what a study resumes from, not Tune's snapshots
        "TUNE_WARN_THRESHOLD_S": "30",  # on a busy machine a look at the storage takes longer than Tune expects
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "OMP_NUM_THREADS": "1",
        **LARGE_PAGES,
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    if not os.environ.get("RAY_ADDRESS") and "ray" not in sys.modules:  # which reads it once, when it is imported
        # Ray does so itself for a Ray of one's own, and makes the token where there is none; but it warns of it.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    if os.environ.get("RAY_ADDRESS") and "RAY_AUTH_MODE" not in os.environ:
        token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
        if "RAY_AUTH_TOKEN" in os.environ or token.is_file():
            os.environ["RAY_AUTH_MODE"] = "token"


def _short_temporary_folder() -> str:
    """Ray's sockets lie below it, and their paths must stay under 107 characters."""
    return os.environ.get("RAY_TMPDIR") or str(Path(tempfile.gettempdir()) / "ray")
