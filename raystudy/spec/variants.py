"""What a figure changes about a preset: one word at every scale, for the large part or its tiny counterpart."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from raystudy.errors import SpecError
from raystudy.spec.data import DataSpec
from raystudy.spec.model import Backbone, CascadeSpec, KeypointHeadSpec, ModelSpec
from raystudy.spec.presets import Preset, shapes_data
from raystudy.spec.schedule import ScheduleSpec
from raystudy.spec.study import Axis, Level
from raystudy.spec.trial import TrialSpec

TINY_COUNTERPARTS: dict[Backbone, Backbone] = {
    "resnet50": "tiny",
    "resnet101": "tiny_deep",
    "resnext152_8x32d": "tiny_grouped",
    "resnext152_32x8d": "tiny_grouped",
    "vgg16": "tiny_vgg",
}
"""What demo and smoke train in place of a backbone of the paper."""

NUM_PERSON_KEYPOINTS = 17
"""Of COCO's people."""

KEYPOINT_SPREAD = 0.067
"""Spread of a keypoint for which nobody has measured how far annotators disagree: the mean of COCO's 17."""

TRAIN_SCALES = (640, 672, 704, 736, 768, 800)
"""Shorter sides of the paper's training-time scale augmentation, [640, 800], in Detectron's grid (its X-152 yaml)."""

TEST_SCALES, TEST_MAX_SIDE = (400, 500, 600, 700, 900, 1000, 1100, 1200), 2000
"""Shorter sides and longest side of test-time augmentation: Detectron's X-152 yaml, since the paper prints none."""


def is_tiny(preset: Preset) -> bool:
    """Whether the preset's detector is one of the tiny ladder."""
    return preset.base.model.backbone in TINY_COUNTERPARTS.values()


def backbone_of(preset: Preset, large: Backbone) -> Backbone:
    """``large``, or what stands for it at the preset's scale."""
    return TINY_COUNTERPARTS[large] if is_tiny(preset) else large


def original_faster_rcnn(preset: Preset) -> ModelSpec:
    """Faster R-CNN on VGG-16 as Ren et al. 2015 had it: one map of stride 16, RoIPool, two fully connected layers.

    No pyramid, no norm, no mask. Budgets are Detectron's for networks without pyramid (``core/config.py`` and
    ``12_2017_baselines/e2e_faster_rcnn_R-50-C4_1x.yaml``), anchors those of Ren et al. for COCO. Detectron's VGG-16 has
    no dropout, as here; it never trains the first two stages, which with random init would freeze random weights.
    """
    model = preset.base.model
    box_head = replace(model.box_head, num_convs=0, num_fcs=2, pooling="pool")
    rpn = model.rpn
    if not is_tiny(preset):
        box_head = replace(box_head, fc_channels=4096)
        rpn = replace(
            rpn,
            anchor_sizes=(64, 128, 256, 512),
            pre_nms_train=12_000,
            pre_nms_test=6000,
            post_nms_train_per="image",
        )
    return replace(
        model,
        backbone=backbone_of(preset, "vgg16"),
        norm="none",
        neck="none",
        mask_head=None,
        box_head=box_head,
        rpn=rpn,
    )


def with_keypoints(preset: Preset) -> TrialSpec:
    """The preset's trial with a keypoint head in place of the mask head, on data that has keypoints.

    Detectron's ``12_2017_baselines/e2e_keypoint_rcnn_R-50-FPN_1x.yaml`` has no mask head either, and the scales of
    ``TRAIN_SCALES``; the paper does not say. Without data of its own the preset is COCO's people, or shapes with
    keypoints.
    """
    data = _keypoint_data(preset.base.data)
    # Data without keypoints is refused by name later on; the head must exist for that.
    head = KeypointHeadSpec(num_keypoints=data.num_keypoints or NUM_PERSON_KEYPOINTS)
    if is_tiny(preset):
        head = replace(head, pool_size=8, num_convs=2, conv_channels=64)
    evaluation = preset.base.evaluation
    if head.num_keypoints != NUM_PERSON_KEYPOINTS:
        evaluation = replace(evaluation, keypoint_sigmas=(KEYPOINT_SPREAD,) * head.num_keypoints)
    return replace(
        preset.base,
        model=replace(preset.base.model, mask_head=None, keypoint_head=head),
        data=data,
        input=replace(preset.base.input, train_short_sides=train_scales(preset)),
        evaluation=evaluation,
    )


def train_scales(preset: Preset) -> tuple[int, ...]:
    """Shorter sides of the scale augmentation, in the proportion that the paper's have to its test side of 800."""
    side = preset.base.input.test_short_side
    return tuple(round(side * scale / 800) for scale in TRAIN_SCALES)


def backbone_axis(preset: Preset, larges: tuple[Backbone, ...]) -> Axis:
    """Backbones, each called as it is at the preset's scale."""
    chosen = [backbone_of(preset, large) for large in larges]
    return Axis(name="backbone", levels=tuple(Level(name=b, overrides={"model.backbone": b}) for b in chosen))


def scale_axis(preset: Preset, without: str, with_it: str) -> Axis:
    """Training at the preset's own shorter side, and at those of ``train_scales``; the names are the levels'."""
    chosen = {without: preset.base.input.train_short_sides, with_it: train_scales(preset)}
    return Axis(
        name="augmentation",
        levels=tuple(Level(name=name, overrides={"input.train_short_sides": sides}) for name, sides in chosen.items()),
    )


def enhanced_schedules(preset: Preset) -> tuple[float, float]:
    """Multiples of the unit at which Figure 5 trains pre-trained and baseline models, and enhanced random ones.

    Raises:
        SpecError: the preset has been given a single schedule.
    """
    if preset.name == "paper":
        return 6.0, 9.0
    longest = sorted(set(preset.schedules))[-2:]
    if len(longest) < 2:
        raise SpecError(
            f"only schedule {longest[0]:g}x is given, but enhanced models are trained at two: the shorter for "
            "pre-training and the longer for random init; give both, such as --schedules 1,2"
        )
    return longest[0], longest[1]


def enhanced_axis(preset: Preset) -> Axis:
    """Both of ``enhanced_schedules``."""
    return preset.schedule_axis(enhanced_schedules(preset))


def other_lengths(preset: Preset) -> tuple[dict[str, str], dict[str, str]]:
    """Cells that Figure 5's enhanced rows leave out: random init at the shorter schedule, pre-trained at the longer."""
    short, long = (f"{k:g}x" for k in enhanced_schedules(preset))
    return {"init": "random", "schedule": short}, {"init": "pretrained", "schedule": long}


def enhanced_backbones(preset: Preset) -> Axis:
    """Figure 5's two backbones; smaller presets take one."""
    return backbone_axis(preset, ("resnet50", "resnet101") if preset.name == "paper" else ("resnet50",))


def rows_axis(rows: Mapping[str, Mapping[str, Any]]) -> Axis:
    """Rows of a table, each by what it changes of a trial."""
    return Axis(name="row", levels=tuple(Level(name=name, overrides=dict(changed)) for name, changed in rows.items()))


def final_cascade(preset: Preset) -> CascadeSpec:
    """A cascade that is switched on for the last third of the longer of ``enhanced_schedules``: 270k of the paper's 9x.

    At scales whose unit does not say otherwise, that is the next whole number of evaluations.
    """
    grid = preset.base.eval_interval
    return CascadeSpec(final_iterations=max(1, round(preset.unit * enhanced_schedules(preset)[1] / 3 / grid)) * grid)


def augmented_evaluation(preset: Preset) -> dict[str, Any]:
    """Overrides of the evaluation: scales, in the proportion of ``TEST_SCALES``, mirrors, and boxes by vote.

    The tiny detectors take three of the scales.
    """
    side = preset.base.input.test_short_side
    scales = TEST_SCALES[::3] if is_tiny(preset) else TEST_SCALES
    return {
        "evaluation.scales": tuple(round(side * scale / 800) for scale in scales),
        "evaluation.scales_max_side": round(side * TEST_MAX_SIDE / 800),
        "evaluation.flip": True,
        "evaluation.merge": "vote",
    }


def images_axis(preset: Preset, images: tuple[int, ...], k: float) -> Axis:
    """Images per worker, with as many images in all as a *kx* schedule of the preset sees.

    Fewer images an iteration make more iterations, at a rate that falls in proportion (which ``TrialSpec.lr_at`` sees
    to): the protocol of Wu and He 2018, section 4.1. Evaluations and warm-up lie at the same images.
    """
    base = preset.base
    levels = []
    for number in images:
        more = Fraction(base.images_per_worker, number)
        schedule = ScheduleSpec.from_units(
            k,
            int(preset.unit * more),
            warmup_iterations=int(base.schedule.warmup_iterations * more),
            warmup_factor=base.schedule.warmup_factor,
        )
        overrides = {
            "images_per_worker": number,
            "schedule": schedule,
            "eval_interval": int(base.eval_interval * more),
            "log_interval": int(base.log_interval * more),
        }
        levels.append(Level(name=str(number), overrides=overrides))
    return Axis(name="images_per_worker", levels=tuple(levels))


def _keypoint_data(data: DataSpec) -> DataSpec:
    if data.format == "shapes" and data.shapes is not None:
        return shapes_data(replace(data.shapes, has_keypoints=True))
    if not data.train_checksum:
        return replace(data, num_categories=1, num_keypoints=NUM_PERSON_KEYPOINTS)
    return data
