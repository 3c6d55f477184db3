"""What a plan costs before anything is trained: device-hours, from the speed of each of its models on some hardware.

A speed is that of one worker at its share of the batch, as `raystudy calibrate` measures it. Talk between workers, the
start of processes and other people's load on a machine are not in it.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from raystudy.spec.identity import digest, identity_dict
from raystudy.spec.plan import Plan, Segment
from raystudy.spec.trial import PretrainSpec, TrialSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """Of one worker on one device."""

    iteration_s: float
    """Seconds of one training iteration at ``images_per_worker`` images."""

    evaluation_s: float
    """Seconds of one validation of the whole validation set, by one worker alone."""

    memory_mib: float | None = None
    """Most memory of the accelerator in use, MiB; None on a CPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Speeds on one kind of device."""

    device: str
    """Its name, for people."""

    threads: int = 1
    speeds: Mapping[str, Speed] = dataclasses.field(default_factory=dict)
    """By ``speed_key``."""

    pretraining: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Seconds of one iteration of a worker's share, by ``pretraining_key``."""

    def uncovered(self, plan: Plan) -> list[str]:
        """What of ``plan`` has no speed here: a segment's or a pre-training's id each."""
        found = [s.segment_id for s in plan.segments if speed_key(s.spec) not in self.speeds]
        return found + [w for w, recipe in plan.pretrainings.items() if pretraining_key(recipe) not in self.pretraining]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanCost:
    """Device-hours of a plan; a device is one worker's."""

    training_hours: float
    evaluation_hours: float
    pretraining_hours: float

    @property
    def device_hours(self) -> float:
        """Of everything."""
        return self.training_hours + self.evaluation_hours + self.pretraining_hours


def speed_key(trial: TrialSpec) -> str:
    """What makes two trials equally fast per iteration and evaluation: model, input, evaluation, share of the batch."""
    parts = {name: identity_dict(getattr(trial, name)) for name in ("model", "input", "evaluation")}
    data = [trial.data.train_checksum, trial.data.val_checksum, trial.data.num_categories]
    compiled = ["compiled"] if trial.compiled else []  # so that what was calibrated before there was this stays known
    return digest([parts, data, trial.images_per_worker, trial.precision, *compiled], length=16)


def pretraining_key(recipe: PretrainSpec) -> str:
    """What makes two recipes equally fast per iteration."""
    names = ("backbone", "norm", "data", "image_size", "optimizer", "precision")
    share = recipe.batch_size // recipe.workers
    return digest([*(getattr(recipe, name) for name in names), share], length=16)


def segment_seconds(segment: Segment, speed: Speed) -> tuple[float, float]:
    """Seconds that its workers train, and that they evaluate."""
    interval = segment.spec.eval_interval
    evaluations = segment.end // interval - segment.start // interval + bool(segment.end % interval)
    return segment.iterations * speed.iteration_s, max(1, evaluations) * speed.evaluation_s / segment.spec.workers


def plan_cost(plan: Plan, calibration: Calibration) -> PlanCost:
    """Device-hours of ``plan``, which ``calibration`` must cover whole: see ``Calibration.uncovered``."""
    training = evaluation = 0.0
    for segment in plan.segments:
        train_s, evaluate_s = segment_seconds(segment, calibration.speeds[speed_key(segment.spec)])
        training += train_s * segment.spec.workers
        evaluation += evaluate_s * segment.spec.workers
    pretraining = sum(
        recipe.iterations * recipe.workers * calibration.pretraining[pretraining_key(recipe)]
        for recipe in plan.pretrainings.values()
    )
    return PlanCost(
        training_hours=training / 3600, evaluation_hours=evaluation / 3600, pretraining_hours=pretraining / 3600
    )


def node_seconds(plan: Plan, calibration: Calibration) -> dict[str, float]:
    """Wall seconds of every segment and pre-training, by id: what the makespan is made of."""
    found = {s.segment_id: sum(segment_seconds(s, calibration.speeds[speed_key(s.spec)])) for s in plan.segments}
    for weights_id, recipe in plan.pretrainings.items():
        found[weights_id] = recipe.iterations * calibration.pretraining[pretraining_key(recipe)]
    return found
