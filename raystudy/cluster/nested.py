"""A node of the plan in a group of workers, which this process keeps for the next one."""

from typing import Any

from raystudy.cluster.worker_group import Shape, Work, WorkerGroup
from raystudy.errors import RaystudyError
from raystudy.files import scratch

_kept: WorkerGroup | None = None
"""Of the last node, in the process that drives it. Tune reuses that process, and Ray ends the group with it."""


def run_in_workers(work: Work, config: dict[str, Any], *, node_id: str, workers: int) -> None:
    """Call ``work(config)`` in every one of ``workers`` processes that form a process group; return when all are done.

    One attempt: when a worker is lost all of them end and give their resources back, and whoever handed the node out
    does so again when there is room. The strategy PACK puts all of them on one machine where they fit, else on several.

    Args:
        work: a function of a module, which runs in each worker; what it had committed is there when it is called again
            after a failure.
        config: JSON-ready, with ``settings``.
        node_id: whose work it is.
        workers: their number.

    Raises:
        RaystudyError: it failed.
    """
    global _kept
    settings = config["settings"]
    shape = Shape(
        workers=workers,
        threads=settings["threads"],
        use_gpu=settings["device"] == "cuda",
        collective_timeout_s=settings["collective_timeout_s"],
        place=str(scratch(settings["storage"]) / ".ray" / "train"),
    )
    is_done = False
    while not is_done:
        if _kept is None or not _kept.can_serve(shape):
            close_workers()
            _kept = WorkerGroup(shape)
        try:
            is_done = _kept.run(work, config)
        except Exception as error:
            raise RaystudyError(f"{node_id}: {error}") from error


def close_workers() -> None:
    """Let the workers go that this process has kept, if any."""
    global _kept
    if _kept is not None:
        _kept.close()
    _kept = None
