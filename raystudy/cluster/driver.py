"""The Tune trainable: one node of the plan, in this very process or in a group of Ray Train workers.

With one worker, training runs in Tune's own process, which Tune reuses for the next node, so that a trial costs no
process start. With several, a nested Ray Train run starts them. Both call the same ``run_segment``. torch is imported
where training happens and nowhere before.
"""

from typing import TYPE_CHECKING, Any

import ray.tune

from raystudy.errors import RaystudyError

if TYPE_CHECKING:
    from raystudy.cluster.worker import Run


def drive(config: dict[str, Any]) -> None:
    """Run one node: a pre-training or a segment."""
    if config["kind"] == "pretraining":
        _pretrain(config)
    elif config["node"]["spec"]["workers"] == 1:
        _run(config, TuneRun())
    else:
        _train_in_workers(config)


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
    """One rank of a nested Ray Train run; its process group stands already."""
    _run(config, TrainRun())


def _run(config: dict[str, Any], run: "Run") -> None:
    from raystudy.cluster.settings import RunSettings
    from raystudy.cluster.tracked_runs import TrackedRun
    from raystudy.cluster.worker import run_segment
    from raystudy.spec.identity import from_dict
    from raystudy.spec.plan import Segment

    tracked = [TrackedRun.from_dict(content) for content in config["tracked"]]
    run_segment(Segment.from_dict(config["node"]), from_dict(RunSettings, config["settings"]), run, tracked)


def _train_in_workers(config: dict[str, Any]) -> None:
    import ray.train

    from raystudy.cluster.process_group import ProcessGroupConfig, StudyTrainer, remove_leftovers

    settings = config["settings"]
    use_gpu = settings["device"] == "cuda"
    resources = {"CPU": settings["threads"], **({"GPU": 1} if use_gpu else {})}
    if config["slots"] == 1:  # an earlier attempt at this node may have died while it started
        remove_leftovers(resources)
    trainer = StudyTrainer(
        train_worker,
        train_loop_config=config,
        backend_config=ProcessGroupConfig(backend="nccl" if use_gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=config["node"]["spec"]["workers"], use_gpu=use_gpu, resources_per_worker=resources
        ),
        run_config=ray.train.RunConfig(
            name=config["node_id"],
            storage_path=f"{settings['storage']}/.ray/train",
            failure_config=ray.train.FailureConfig(max_failures=3, controller_failure_limit=5),
        ),
    )
    result = trainer.fit()
    if result.error is not None:
        raise RaystudyError(f"{config['node_id']}: {result.error}") from result.error
    ray.tune.report({"done": True})


def _pretrain(config: dict[str, Any]) -> None:
    import torch

    from raystudy.cluster.settings import RunSettings
    from raystudy.cluster.tracked_runs import TrackedRun, with_provenance
    from raystudy.cluster.tracking import open_tracker
    from raystudy.cluster.weights import make_weights
    from raystudy.cluster.worker import provenance
    from raystudy.records import TrialState
    from raystudy.spec.identity import from_dict
    from raystudy.spec.trial import PretrainSpec
    from raystudy.store import Store

    settings = from_dict(RunSettings, config["settings"])
    torch.set_num_threads(settings.threads)
    store, runs = Store.open(settings.storage), [TrackedRun.from_dict(content) for content in config["tracked"]]
    made_with = provenance(settings)
    tracker = open_tracker(settings.tracking, [with_provenance(run, made_with, "cpu") for run in runs], store)
    make_weights(store, from_dict(PretrainSpec, config["node"]))
    tracker.finish(TrialState.COMPLETE)
    ray.tune.report({"done": True})
