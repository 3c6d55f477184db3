"""What a plan's arms will have seen, counted as the paper's Figure 2 counts: nothing is trained for it.

An arm has seen its iterations times its batch, and before that the pictures of its pre-training. Instances follow from
the mean number in a picture; pixels are nominal, 800 x 1333 a picture of detection and 224 x 224 one of pre-training.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from raystudy.spec.data import DataSpec
from raystudy.spec.plan import Plan
from raystudy.spec.pretraining import NOMINAL_PIXELS
from raystudy.spec.trial import InitSpec, TrialSpec

PAPER_PIXELS = 800 * 1333
"""Pixels of a picture of detection as the paper's Figure 2 counts them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataCounts:
    """How much is in a training set."""

    images: int
    instances: int
    source: str
    """Where the numbers are from, for people."""

    @property
    def instances_per_image(self) -> float:
        """Mean; nan of an empty set."""
        return self.instances / self.images if self.images else math.nan


COCO_TRAIN = DataCounts(
    images=118_287, instances=860_001, source="COCO train2017's known counts: 860,001 instances in 118,287 images"
)
"""Crowd regions included, over all pictures: these reproduce the six totals that the paper's Figure 2 prints."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """Totals; nan is not known."""

    images: float = 0.0
    instances: float = 0.0
    pixels: float = 0.0
    """Nominal."""

    def __add__(self, other: "Seen") -> "Seen":
        return Seen(
            images=self.images + other.images,
            instances=self.instances + other.instances,
            pixels=self.pixels + other.pixels,
        )


UNKNOWN = Seen(images=math.nan, instances=math.nan, pixels=math.nan)


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmExposure:
    """One arm of a plan, whatever its seed."""

    init: str
    schedule: str
    data: str
    """As ``DataSpec.subset_label``."""

    categories: int
    detection: Seen
    pretraining: Seen | None
    """None for random init; ``UNKNOWN`` where nothing tells what weights from a file have seen."""

    @property
    def total(self) -> Seen:
        """With pre-training's."""
        return self.detection if self.pretraining is None else self.detection + self.pretraining


def expected_exposure(
    plan: Plan,
    counts_of: Callable[[DataSpec], DataCounts | None],
    brought: Callable[[InitSpec], Seen] = lambda _: UNKNOWN,
) -> list[ArmExposure]:
    """What each arm of the plan will have seen at its end; trials that see equally much are one arm.

    Args:
        plan: of the study.
        counts_of: how much a trial's part of the training set holds; None where nobody knows.
        brought: what weights from a file have seen, where the spec does not tell.
    """
    counted = {data: counts_of(data) for data in {trial.data for trial in plan.trials.values()}}
    arms = (
        ArmExposure(
            init=trial.init.kind,
            schedule=trial.schedule.name,
            data=trial.data.subset_label,
            categories=trial.data.num_categories,
            detection=detection_exposure(trial, counted[trial.data]),
            pretraining=pretraining_exposure(trial.init, brought),
        )
        for trial in plan.trials.values()
    )
    return list({repr(arm): arm for arm in arms}.values())  # by its text, in which nan equals nan


def detection_exposure(trial: TrialSpec, counts: DataCounts | None) -> Seen:
    """What the detector sees; a batch is always full, and every picture comes equally often."""
    images = trial.schedule.total * trial.global_batch
    instances = images * counts.instances_per_image if counts is not None else math.nan
    return Seen(images=images, instances=instances, pixels=images * PAPER_PIXELS)


def pretraining_exposure(init: InitSpec, brought: Callable[[InitSpec], Seen] = lambda _: UNKNOWN) -> Seen | None:
    """What the weights have seen before: one instance a picture, as the paper counts ImageNet's.

    Args:
        init: of a trial; random init has none.
        brought: what weights from a file have seen, where the spec does not tell.
    """
    if init.kind == "random":
        return None
    if init.pretrain is not None:
        images = init.pretrain.iterations * init.pretrain.batch_size
    elif init.weights_images is not None:
        images = init.weights_images
    else:
        return brought(init)
    return Seen(images=images, instances=images, pixels=images * NOMINAL_PIXELS)


def known_counts(data: DataSpec) -> DataCounts | None:
    """COCO's counts for the paper preset without data at hand; None for any other data.

    A part of the pictures has as many instances in each as the whole, on average; which instances a cap or fewer
    categories leave is not known.
    """
    is_coco = data.format == "coco" and not data.train_annotations and not data.train_checksum
    if not is_coco or data.instances_per_image is not None or data.num_categories != DataSpec().num_categories:
        return None
    return COCO_TRAIN
