"""A node of the plan in a group of workers: a nested Ray Train run."""

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import ray.train

from raystudy.cluster.machines import group_name
from raystudy.cluster.process_group import ProcessGroupConfig, StudyTrainer
from raystudy.errors import RaystudyError
from raystudy.files import scratch


def run_in_workers(
    work: Callable[[dict[str, Any]], None],
    config: dict[str, Any],
    *,
    node_id: str,
    workers: int,
) -> None:
    """Call ``work(config)`` in every one of ``workers`` processes that form a process group; return when all are done.

    One attempt: when a worker is lost all of them end and give their resources back, and whoever handed the node out
    does so again when there is room. The strategy PACK puts all of them on one machine where they fit, else on several.

    Args:
        work: runs in each worker; what it had committed is there when it is called again after a failure.
        config: JSON-ready, with ``settings``.
        node_id: whose work it is.
        workers: their number.

    Raises:
        RaystudyError: it failed.
    """
    settings = config["settings"]
    use_gpu = settings["device"] == "cuda"
    resources = {"CPU": settings["threads"], **({"GPU": 1} if use_gpu else {})}
    number = time.time_ns()  # our own checkpoints are what a run goes on from, so that Train's need no stable name
    trainer = StudyTrainer(
        work,
        train_loop_config=config,
        backend_config=ProcessGroupConfig("nccl" if use_gpu else "gloo", settings["collective_timeout_s"]),
        group_name=group_name(node_id, number),
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers, use_gpu=use_gpu, resources_per_worker=resources, placement_strategy="PACK"
        ),
        run_config=ray.train.RunConfig(
            name=f"{node_id}-{number}",
            storage_path=str(scratch(settings["storage"]) / ".ray" / "train"),
            failure_config=ray.train.FailureConfig(max_failures=0, controller_failure_limit=1),
        ),
    )
    result = _fitted(trainer)
    if result.error is not None:
        raise RaystudyError(f"{node_id}: {result.error}") from result.error


def _fitted(trainer: StudyTrainer) -> ray.train.Result:
    """``trainer.fit()``, whose answer to Ctrl-C would end the process with status 0, and stay in place."""
    before = signal.getsignal(signal.SIGINT)
    try:
        return trainer.fit()
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)
