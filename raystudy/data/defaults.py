"""What a data set asks of a small detector: input size, anchors and budgets, from its annotations' statistics.

The paper preset keeps its published recipe; these are for demo and smoke on data of one's own.
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from raystudy.data.coco import CocoDataset
from raystudy.data.splits import open_split
from raystudy.spec.data import DataSpec, InputSpec
from raystudy.spec.schedule import PAPER_UNIT
from raystudy.spec.trial import TrialSpec

CROP = 128
"""Side of the training window where pictures are larger, pixels: what one CPU core trains in about 0.1 s."""

NATIVE_SIDE = 512
"""Pictures of which 95% are no longer than this are taken at their own size."""

SHORT_SIDE = 256
"""Of larger pictures, after resizing, pixels."""

CROWDED = 50
"""Instances in a picture from which on (95th percentile) COCO's 100 detections and small budgets do not do."""

ANCHOR_LEVELS = 4

TEST_BATCH = 10
"""Pictures of one forward pass in validation, at most: theirs are larger than the embedded ones, with more in them."""

PAPER_BATCH, PAPER_IMAGES = 16, 118_287
"""Of 1x on COCO train2017: 90,000 iterations of 16 images."""

PAPER_PASSES = PAPER_UNIT * PAPER_BATCH / PAPER_IMAGES
"""Over the training pictures in 1x, about 12."""

LEAST_UNIT = 405
"""Iterations of 1x that leave time to learn between warm-up and the drops, however few the pictures: the demo's."""

LONGEST_DEMO = 4
"""The demo's 1x follows the size of the data up to so many times its own length: it must end on a laptop."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataStatistics:
    """Both splits together unless said otherwise."""

    num_train_images: int
    num_val_images: int
    num_train_instances: int
    num_val_instances: int
    short_side: float
    """Median of the pictures' shorter sides, pixels."""

    long_side: float
    """95th percentile of their longer sides, pixels."""

    instances_per_image: float
    """95th percentile."""

    most_instances: int
    """In one picture."""

    small_object: float
    """5th percentile of the square root of the boxes' area, pixels of the picture on disk."""

    large_object: float
    """75th percentile."""

    huge_object: float
    """95th percentile."""

    has_masks: bool


def suggested_unit(num_images: int, batch: int) -> int:
    """Iterations of 1x that show every picture as often as the paper's 90k of 16 show COCO's, about 12 times.

    A multiple of 9, so that the drops fall on whole iterations; never less than ``LEAST_UNIT``.
    """
    return max(LEAST_UNIT, round(PAPER_PASSES * num_images / batch / 9) * 9)


def demo_unit(num_images: int, batch: int, unit: int) -> int:
    """The suggested unit within what a demo may take: at least its own ``unit``, at most ``LONGEST_DEMO`` of it."""
    return min(max(unit, suggested_unit(num_images, batch)), LONGEST_DEMO * unit)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataDefaults:
    """Settings that fit a data set."""

    statistics: DataStatistics
    input: InputSpec
    anchor_sizes: tuple[int, ...]
    train_proposals: int
    """Proposals of a training picture after NMS, at least."""

    test_proposals: int
    """The same of a whole picture in validation."""

    detections_per_image: int

    def applied_to(self, trial: TrialSpec) -> TrialSpec:
        """The trial with this input and these anchors; budgets are raised where they are too small, never lowered.

        Without segmentations the mask head goes.
        """
        rpn, evaluation = trial.model.rpn, trial.evaluation
        rpn = dataclasses.replace(
            rpn,
            anchor_sizes=self.anchor_sizes,
            post_nms_train=max(rpn.post_nms_train, self.train_proposals),
            pre_nms_train=max(rpn.pre_nms_train, 2 * self.train_proposals),
            post_nms_test=max(rpn.post_nms_test, self.test_proposals),
            pre_nms_test=max(rpn.pre_nms_test, 2 * self.test_proposals),
        )
        detections = max(evaluation.detections_per_image, self.detections_per_image)
        model = dataclasses.replace(
            trial.model, rpn=rpn, mask_head=trial.model.mask_head if self.statistics.has_masks else None
        )
        return dataclasses.replace(
            trial,
            model=model,
            input=self.input,
            evaluation=dataclasses.replace(
                evaluation, detections_per_image=detections, batch_size=min(evaluation.batch_size, TEST_BATCH)
            ),
        )


def data_defaults(data: DataSpec, anchor_levels: int = ANCHOR_LEVELS) -> DataDefaults:
    """Settings that fit this data, for a small detector.

    Args:
        data: both splits are read; the subset plays no part, so that a study's fractions share their settings.
        anchor_levels: pyramid levels that have anchors.

    Raises:
        DataError: the annotations cannot be used.
    """
    whole = dataclasses.replace(data, fraction=1.0, num_images=None, instances_per_image=None)
    statistics = data_statistics(open_split(whole, "train"), open_split(whole, "val"))
    chosen, scale = _input(statistics)
    middle = math.sqrt(statistics.small_object * statistics.huge_object) * scale
    per_train = float(statistics.most_instances)
    if chosen.crop:
        per_train *= min(1.0, chosen.crop**2 / (statistics.short_side * scale) ** 2)
    is_crowded = statistics.instances_per_image > CROWDED
    wanted = _rounded_up(1.8 * statistics.most_instances, 50) if is_crowded else 0
    return DataDefaults(
        statistics=statistics,
        input=chosen,
        anchor_sizes=_anchor_sizes(middle, anchor_levels),
        train_proposals=_rounded_up(2 * per_train, 10),
        test_proposals=wanted or _rounded_up(2 * statistics.most_instances, 10),
        detections_per_image=wanted or 100,
    )


def data_statistics(train: CocoDataset, val: CocoDataset) -> DataStatistics:
    """The statistics that settings follow from."""
    both = (train, val)
    heights = np.concatenate([split.heights for split in both])
    widths = np.concatenate([split.widths for split in both])
    counts = np.concatenate([split.instance_counts for split in both])
    boxes = np.concatenate([split.all_boxes() for split in both])
    sizes = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
    small, large, huge = (float(p) for p in np.percentile(sizes, (5, 75, 95))) if len(sizes) else (0.0, 0.0, 0.0)
    return DataStatistics(
        num_train_images=len(train),
        num_val_images=len(val),
        num_train_instances=int(train.instance_counts.sum()),
        num_val_instances=int(val.instance_counts.sum()),
        short_side=float(np.median(np.minimum(heights, widths))),
        long_side=float(np.percentile(np.maximum(heights, widths), 95)),
        instances_per_image=float(np.percentile(counts, 95)),
        most_instances=int(counts.max(initial=0)),
        small_object=small,
        large_object=large,
        huge_object=huge,
        has_masks=train.has_masks and val.has_masks,
    )


def _input(statistics: DataStatistics) -> tuple[InputSpec, float]:
    """The input, and the scale at which it shows a typical picture.

    A window shows small objects at full size for little work, but cuts large ones; so pictures of large objects are
    shown whole and small instead.
    """
    is_native = statistics.long_side <= NATIVE_SIDE
    short = round(statistics.short_side) if is_native else SHORT_SIDE
    if short > CROP and statistics.large_object * short / statistics.short_side > CROP / 2:
        is_native, short = False, CROP
    shown = InputSpec(
        train_short_sides=(short,),
        test_short_side=short,
        max_side=NATIVE_SIDE if is_native else math.ceil(short * 1333 / 800),
        resize=not is_native,
        crop=CROP if short > CROP else 0,
        aspect_grouping=False,
    )
    return shown, 1.0 if is_native else short / statistics.short_side


def _anchor_sizes(middle: float, levels: int) -> tuple[int, ...]:
    """Powers of two from 8 on (the finest level's stride is 4), ``middle`` in their middle, in octaves."""
    first = max(3, round(math.log2(max(middle, 1.0)) - (levels - 1) / 2))
    return tuple(2 ** (first + level) for level in range(levels))


def _rounded_up(value: float, multiple: int) -> int:
    return math.ceil(value / multiple) * multiple
