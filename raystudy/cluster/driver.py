"""The Tune trainable: one node of the plan, in this very process or in a group of Ray Train workers.

With one worker, training runs in Tune's own process, which Tune reuses for the next node, so that a trial costs no
process start. With several, a nested Ray Train run starts them, and the process keeps them for the next node of the
same shape. Both call the same ``run_segment``. torch is imported where training happens and nowhere before.
"""

import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import ray.tune

from raystudy.errors import DataError, SpecError, TrainingError
from raystudy.training.memory import LARGE_PAGES

if TYPE_CHECKING:
    from raystudy.cluster.worker import Run


THREAD_TIMEOUT_S = 120
"""How long Tune waits for a finished node's thread to end before it takes the process to be lost; its own 2 s are too
few on a busy machine."""


def drive(config: dict[str, Any]) -> None:
    """Run one node: a pre-training or a segment."""
    # Read when the process is reused, and by torch when it allocates for the first time.
    for name, value in {"TUNE_FUNCTION_THREAD_TIMEOUT_S": str(THREAD_TIMEOUT_S), **LARGE_PAGES}.items():
        os.environ.setdefault(name, value)
    if config["kind"] == "pretraining":
        _pretrain(config)
    elif _needs_workers(config["node"]["spec"]["workers"]):
        _train_in_workers(config)
    else:
        _run(config, TuneRun())


class _LetsWorkersGo:
    """Part of the class that Tune makes of ``drive``: workers that its process has kept end before Tune ends it.

    Who is killed instead leaves them to Ray, which takes longer to give their machines back.
    """

    def cleanup(self) -> None:
        """As Tune's trainables."""
        nested = sys.modules.get("raystudy.cluster.nested")  # where it was never needed, it is not loaded for this
        if nested is not None:
            nested.close_workers()
        super().cleanup()  # type: ignore[misc]


drive.__mixins__ = (_LetsWorkersGo,)  # type: ignore[attr-defined]  # where Tune looks for them


def _needs_workers(workers: int) -> bool:
    """Several do; so does one in a plan of nested runs, where this process holds nothing to train with."""
    return workers > 1 or not ray.get_runtime_context().get_assigned_resources().get("CPU")


class TuneRun:
    """A run in Tune's own process."""

    def report(self, progress: dict[str, Any]) -> None:
        """A Tune result."""
        ray.tune.report(progress)


class TrainRun:
    """A run in a Ray Train worker."""

    def report(self, progress: dict[str, Any]) -> None:
        """A Train result, which is also a barrier of all workers."""
        import ray.train

        ray.train.report(progress)


def train_worker(config: dict[str, Any]) -> None:
    """One rank of a group of workers; its process group stands already."""
    _run(config, TrainRun())


def _run(config: dict[str, Any], run: "Run") -> None:
    from raystudy.cluster import spot
    from raystudy.cluster.hung import ends_when_hung
    from raystudy.cluster.settings import RunSettings
    from raystudy.cluster.tracked_runs import TrackedRun
    from raystudy.cluster.worker import run_segment
    from raystudy.cluster.worker_log import kept_log
    from raystudy.spec.identity import from_dict
    from raystudy.spec.plan import Segment
    from raystudy.store import Store
    from raystudy.training import collectives

    tracked = [TrackedRun.from_dict(content) for content in config["tracked"]]
    segment, settings = Segment.from_dict(config["node"]), from_dict(RunSettings, config["settings"])
    watch = spot.watched(settings.notices, spot.drain_this_node) if settings.notices else nullcontext()
    log = kept_log(Store.open(settings.storage), segment.segment_id, collectives.rank())
    with log, ends_when_hung(settings.hung_after_s), watch as must_leave:
        run_segment(segment, settings, run, tracked, must_leave)


def _train_in_workers(config: dict[str, Any]) -> None:
    from raystudy.cluster.nested import run_in_workers

    workers = config["node"]["spec"]["workers"]
    run_in_workers(train_worker, config, node_id=config["node_id"], workers=workers)
    ray.tune.report({"done": True})


def _pretrain(config: dict[str, Any]) -> None:
    from raystudy.cluster.commits import provenance
    from raystudy.cluster.hung import ends_when_hung
    from raystudy.cluster.settings import RunSettings
    from raystudy.cluster.tracked_runs import TrackedRun, with_provenance
    from raystudy.cluster.tracking import open_tracker
    from raystudy.cluster.weights import make_weights
    from raystudy.records import TrialState
    from raystudy.spec.identity import from_dict
    from raystudy.spec.trial import PretrainSpec
    from raystudy.store import Store

    settings = from_dict(RunSettings, config["settings"])
    recipe = from_dict(PretrainSpec, config["node"])
    store, runs = Store.open(settings.storage), [TrackedRun.from_dict(content) for content in config["tracked"]]
    made_with = provenance(settings)
    tracker = open_tracker(settings.tracking, [with_provenance(run, made_with, settings.device) for run in runs], store)
    in_workers = _needs_workers(recipe.workers)
    try:
        with ends_when_hung(settings.hung_after_s):
            make_weights(recipe, settings, in_workers=in_workers)
    except (SpecError, DataError, TrainingError) as error:  # trying again would only repeat it
        tracker.finish(TrialState.FAILED, str(error))
        ray.tune.report({"done": True, "refusal": str(error)})
        return
    tracker.finish(TrialState.COMPLETE)
    ray.tune.report({"done": True})
