"""The paper's experiment on PASCAL VOC (section 5.2), at each preset's scale.

Printed are the model, the sets, augmentation in training and the lengths of both schedules. The rate, the batch, the
drops and the scales are not: they are detectron2's of its Faster R-CNN for PASCAL VOC (18k iterations of 16 images at
0.02, drops at 12k and 16k, shorter sides 480 to 800, warm-up 100), its drops counted from the end.
"""

from typing import Any

from raystudy.spec.presets import Preset
from raystudy.spec.schedule import Drop, ScheduleSpec
from raystudy.spec.study import Axis, Level

SCALES = tuple(range(480, 801, 32))
"""Shorter sides in training, pixels."""

TOTALS = (18_000, 144_000)
"""Iterations: pre-training's, and the longest of random init, beyond which it does not get better."""

DROPS = (Drop(before_end=6_000), Drop(before_end=2_000))
WARMUP = 100
EVAL_INTERVAL = 2_000
"""Iterations; the drops and the ends lie on it."""


def voc_recipe(preset: Preset) -> dict[str, Any]:
    """Overrides of a trial: no masks, which VOC does not have; at the paper's scale its model and input too."""
    overrides: dict[str, Any] = {"model.mask_head": None}
    if preset.name == "paper":
        overrides |= {
            "model.backbone": "resnet101",
            "input.train_short_sides": SCALES,
            "eval_interval": EVAL_INTERVAL,
        }
    return overrides


def voc_schedules(preset: Preset) -> Axis:
    """18k and 144k iterations at the paper's scale, a smaller preset's own schedules otherwise."""
    if preset.name != "paper":
        return preset.schedule_axis()
    made = [ScheduleSpec(total=total, drops=DROPS, warmup_iterations=WARMUP) for total in TOTALS]
    return Axis(name="schedule", levels=tuple(Level(name=one.name, overrides={"schedule": one}) for one in made))
