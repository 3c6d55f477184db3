"""A node of the plan in a group of workers: a nested Ray Train run."""

import signal
import threading
from collections.abc import Callable
from typing import Any

import ray.train

from raystudy.cluster.process_group import ProcessGroupConfig, StudyTrainer, remove_leftovers
from raystudy.errors import RaystudyError


def run_in_workers(
    work: Callable[[dict[str, Any]], None],
    config: dict[str, Any],
    *,
    name: str,
    workers: int,
    is_alone: bool,
) -> None:
    """Call ``work(config)`` in every one of ``workers`` processes that form a process group; return when all are done.

    Args:
        work: runs in each worker; what it had committed is there when it is called again after a failure.
        config: JSON-ready, with ``settings``.
        name: of the run; the same name goes on with the same run.
        workers: their number.
        is_alone: whether no other nested run of the job is alive, so that leftovers of dead ones can be removed.

    Raises:
        RaystudyError: it failed at every attempt.
    """
    settings = config["settings"]
    use_gpu = settings["device"] == "cuda"
    resources = {"CPU": settings["threads"], **({"GPU": 1} if use_gpu else {})}
    if is_alone:  # an earlier attempt at this node may have died while it started
        remove_leftovers(resources)
    trainer = StudyTrainer(
        work,
        train_loop_config=config,
        backend_config=ProcessGroupConfig(backend="nccl" if use_gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(num_workers=workers, use_gpu=use_gpu, resources_per_worker=resources),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=f"{settings['storage']}/.ray/train",
            failure_config=ray.train.FailureConfig(max_failures=3, controller_failure_limit=5),
        ),
    )
    result = _fitted(trainer)
    if result.error is not None:
        raise RaystudyError(f"{name}: {result.error}") from result.error


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
