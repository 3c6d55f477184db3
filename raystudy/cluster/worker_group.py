"""Workers that serve one node after the other: a nested Ray Train run that outlives its nodes.

To start a run of two workers costs 20 to 25 CPU seconds and about as many by the clock, most of it for loading Ray
and torch in every process (`benchmarks/trial_overhead.py`). So the workers of a node that is done wait a little for
another one of the same shape. The process that drives them hands it over through the cluster's key-value store, a few
kilobytes of JSON; when none comes they end, and the run with them, so that whoever else waits for room gets it. They
end at once when their own study cannot use them (``machines.let_go``).

One run is one fault domain, as it would be for a single node: a worker that fails ends all of them, and the next node
gets a new run.
"""

import gc
import importlib
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
import ray.train

from raystudy.cluster.handover import done_key, end_key, look, put, take, task_key
from raystudy.cluster.machines import free, group_name
from raystudy.cluster.process_group import ProcessGroupConfig, StudyTrainer

IDLE_S = 10.0
"""How long workers keep their resources without work. Tune hands the next node out within a second; on a busy machine,
or with a storage that answers slowly, it takes some."""

LOOK_S = 0.05
"""Between two looks of idle workers for a node."""

DONE_LOOK_S = 0.2
"""Between two looks of the driving process whether a node is done, which takes minutes to days."""

CLOSE_TIMEOUT_S = 8.0
"""How long workers may take to end before they are ended; Tune gives a process 10 s for it."""

_END = b"null"
"""In place of a task, which is JSON."""

Work = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Shape:
    """What workers must have in common to serve the same nodes."""

    workers: int
    threads: int
    use_gpu: bool
    collective_timeout_s: int
    place: str
    """Folder for what Ray Train writes itself."""


class WorkerGroup:
    """The workers of one run, as the process that drives them sees them."""

    def __init__(self, shape: Shape) -> None:
        self._shape, self._served = shape, 0
        self._name = group_name(time.time_ns())
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._fit, name="worker group", daemon=True)
        self._thread.start()

    def can_serve(self, shape: Shape) -> bool:
        """Whether it is alive and of this shape."""
        return shape == self._shape and self._thread.is_alive()

    def run(self, work: Work, config: dict[str, Any]) -> bool:
        """Have every worker call ``work(config)``; False when they ended before they began with it, as they do when
        they have waited too long or one of them died meanwhile.

        Raises:
            TrainingFailedError: a worker failed, or was lost; none of them lives any more.
        """
        number, self._served = self._served, self._served + 1
        task = {"module": work.__module__, "name": work.__qualname__, "config": config}
        put(task_key(self._name, number), json.dumps(task).encode())
        is_done, is_alive = False, True
        try:
            while is_alive and not is_done:
                self._thread.join(DONE_LOOK_S)
                is_alive = self._thread.is_alive()  # asked before the store is: its last word counts
                is_done = take(done_key(self._name, number)) is not None
        except BaseException:  # such as Ctrl-C: what they are at is not wanted any more
            free(self._name)
            raise
        has_begun = take(task_key(self._name, number)) is None
        if self._error is not None and not is_done and (has_begun or number == 0):  # a new group would fail likewise
            raise self._error
        return is_done

    def close(self) -> None:
        """Let the workers go, and return when they have given back what they held."""
        if self._thread.is_alive():
            put(end_key(self._name), b"1")
            self._thread.join(CLOSE_TIMEOUT_S)
        free(self._name)
        take(end_key(self._name))

    def _fit(self) -> None:
        """The run, from start to end, in a thread of its own."""
        try:
            self._error = self._trainer().fit().error
        except BaseException as error:
            self._error = error
        with suppress(ray.exceptions.RayError):
            free(self._name)  # a controller that was killed has not done so
            take(end_key(self._name))

    def _trainer(self) -> StudyTrainer:
        shape = self._shape
        resources = {"CPU": shape.threads, **({"GPU": 1} if shape.use_gpu else {})}
        return StudyTrainer(
            _serve,
            train_loop_config={"group": self._name, "idle_s": IDLE_S},
            backend_config=ProcessGroupConfig("nccl" if shape.use_gpu else "gloo", shape.collective_timeout_s),
            group_name=self._name,
            scaling_config=ray.train.ScalingConfig(
                num_workers=shape.workers,
                use_gpu=shape.use_gpu,
                resources_per_worker=resources,
                placement_strategy="PACK",
            ),
            run_config=ray.train.RunConfig(
                name="-".join(self._name.split("/")[2:]),
                storage_path=shape.place,
                failure_config=ray.train.FailureConfig(max_failures=0, controller_failure_limit=1),
            ),
        )


def _serve(config: dict[str, Any]) -> None:
    """One worker, whose process group stands already: nodes as they come, until none comes any more."""
    from raystudy.training import collectives

    number, is_first = 0, collectives.rank() == 0
    while True:
        content = _next_task(config["group"], number, config["idle_s"]) if is_first else None
        task = json.loads(collectives.broadcast_object(content))
        if task is None:
            return
        collectives.barrier()
        if is_first:  # all of them are alive: from here on a failure is the node's
            take(task_key(config["group"], number))
        _work(task)(task["config"])
        gc.collect()  # a model with cycles would share the device with the next one
        collectives.barrier()
        if is_first:
            put(done_key(config["group"], number), b"1")
        number += 1


def _next_task(group: str, number: int, idle_s: float) -> bytes:
    """What the group is to do, as JSON; null to end: it was told so, or nothing came."""
    until = time.monotonic() + idle_s
    while (content := look(task_key(group, number))) is None:
        if time.monotonic() > until or look(end_key(group)) is not None:
            return _END
        time.sleep(LOOK_S)
    return content


def _work(task: dict[str, Any]) -> Work:
    found: Work = getattr(importlib.import_module(task["module"]), task["name"])
    return found
