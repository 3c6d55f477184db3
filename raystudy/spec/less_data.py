"""The paper's recipes with less data (section 5.2, Figures 7 and 8), at each preset's scale.

Printed are: for 35k images a rate of 0.04, a drop to 0.02 of it instead of a tenth and shorter sides from 512 to 800;
for 10k the lengths of the schedules. Where the rate drops with 10k and 1k, and how long 1k trains, was read from the
figures. The rates of 10k, 3.5k and 1k were tuned again but are not printed: 35k's stand in for them.
"""

from dataclasses import dataclass
from typing import Any

from raystudy.spec.presets import Preset
from raystudy.spec.schedule import PAPER_UNIT, Drop, ScheduleSpec
from raystudy.spec.study import Axis, Level

LR_FACTOR = 2.0
"""0.04 instead of 0.02."""

DROP_FACTOR = 0.02
"""Of the only drop: whether it came twice is not printed, and the curves show no second jump."""

SCALES = tuple(range(512, 801, 32))
"""Shorter sides from 512 to 800, pixels, in Detectron's steps; the paper prints the ends."""

SHOWN_AT = 800
"""Shorter side at which ``SCALES`` are seen in validation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSize:
    """One size of the training set, and the schedules that the paper compares on it."""

    images: int
    """Of COCO train2017."""

    fraction: float
    """About the same share, for data of another size."""

    totals: tuple[int, ...]
    """Iterations of its schedules."""

    before_end: int
    """Iterations from their only drop to their end."""

    def axis(self, preset: Preset) -> Axis:
        """This size alone: the number of images at the paper's scale, the share at a smaller one."""
        return Axis(name="data", levels=(Level(name=self._name(preset), overrides=self._overrides(preset)),))

    def schedule_axis(self, preset: Preset) -> Axis:
        """Its schedules at the paper's scale; a smaller preset's own, with their only drop where it is here."""
        levels = (Level(name=one.name, overrides={"schedule": one}) for one in self._schedules(preset))
        return Axis(name="schedule", levels=tuple(levels))

    def levels(self, preset: Preset) -> tuple[Level, ...]:
        """This size at each of its schedules, with the re-tuned hyper-parameters."""
        return tuple(
            Level(
                name=f"{self._name(preset)} at {schedule.name}",
                overrides={**self._overrides(preset), **retuned(preset), "schedule": schedule},
            )
            for schedule in self._schedules(preset)
        )

    def _name(self, preset: Preset) -> str:
        return f"{self.images / 1000:g}k" if preset.name == "paper" else f"{self.fraction * 100:g}%"

    def _overrides(self, preset: Preset) -> dict[str, Any]:
        return {"data.num_images": self.images} if preset.name == "paper" else {"data.fraction": self.fraction}

    def _schedules(self, preset: Preset) -> list[ScheduleSpec]:
        if preset.name != "paper":
            before_end = round(self.before_end * preset.unit / PAPER_UNIT)
            return [_one_drop(preset, preset.schedule(k).total, before_end, f"{k:g}x") for k in preset.schedules]
        in_units = all(total % PAPER_UNIT == 0 for total in self.totals)  # else the figure counts iterations
        labels = [f"{total // PAPER_UNIT}x" if in_units else "" for total in self.totals]
        return [
            _one_drop(preset, total, self.before_end, label) for total, label in zip(self.totals, labels, strict=True)
        ]


SIZES = {
    35_000: DataSize(
        images=35_000, fraction=0.3, totals=(180_000, 270_000, 360_000, 450_000, 540_000), before_end=60_000
    ),
    10_000: DataSize(
        images=10_000, fraction=0.1, totals=(60_000, 100_000, 140_000, 180_000, 220_000), before_end=20_000
    ),
    3_500: DataSize(images=3_500, fraction=0.03, totals=(60_000, 220_000), before_end=20_000),
    1_000: DataSize(images=1_000, fraction=0.01, totals=(15_000, 35_000), before_end=10_000),
}
"""Images -> how they are trained; 3.5k's schedules are not printed and are the shortest and the longest of 10k."""


def retuned(preset: Preset) -> dict[str, Any]:
    """The paper's hyper-parameters with 35k images, as overrides of a trial; the drop is its schedule's."""
    side = preset.base.input.test_short_side
    return {
        "optimizer.base_lr": LR_FACTOR * preset.base.optimizer.base_lr,
        "input.train_short_sides": tuple(round(scale * side / SHOWN_AT) for scale in SCALES),
    }


def whole_set(preset: Preset) -> tuple[Level, ...]:
    """All images at each of the preset's schedules: the trials of ``schedule_length.py``."""
    return tuple(
        Level(name=f"all at {level.name}", overrides=level.overrides) for level in preset.schedule_axis().levels
    )


def size_axis(preset: Preset, *images: int, with_whole: bool = False) -> Axis:
    """Sizes of the training set, each with its schedules and re-tuned hyper-parameters.

    Args:
        preset: gives the scale.
        images: keys of ``SIZES``.
        with_whole: whether all images come first, with the recipe of Figure 1.
    """
    levels = [level for count in images for level in SIZES[count].levels(preset)]
    return Axis(name="data", levels=(*(whole_set(preset) if with_whole else ()), *levels))


def instances_axis(most: tuple[int | None, ...]) -> Axis:
    """Most instances of a training image; None keeps all."""
    levels = (
        Level(
            name="all instances" if count is None else f"{count} instance{'s' if count > 1 else ''} an image",
            overrides={"data.instances_per_image": count},
        )
        for count in most
    )
    return Axis(name="instances_per_image", levels=tuple(levels))


def categories_axis(counts: tuple[int, ...]) -> Axis:
    """Categories that are learned and evaluated; fewer are among more."""
    levels = (Level(name=f"{count} categories", overrides={"data.num_categories": count}) for count in counts)
    return Axis(name="num_categories", levels=tuple(levels))


def as_few_as_voc(preset: Preset) -> tuple[Axis, ...]:
    """Both axes with all that the data has and about what PASCAL VOC has of COCO's, on a tenth of the images.

    VOC has 2.3 instances in an image where COCO has 7, and 20 categories instead of 80 (section 5.2): 2 of a picture's
    instances and a quarter of the categories. The embedded shapes have at most 5 instances, and are drawn with 1.
    """
    size, categories = SIZES[10_000], preset.base.data.num_categories
    axes = (
        instances_axis((None, 1 if preset.base.data.format == "shapes" else 2)),
        categories_axis(tuple(dict.fromkeys((categories, max(1, round(categories / 4)))))),
        size.axis(preset),
    )
    if preset.name == "paper":
        return (*axes, Axis(name="schedule", levels=size.schedule_axis(preset).levels[-1:]))
    return (*axes, preset.schedule_axis((preset.compared_at,)))


def _one_drop(preset: Preset, total: int, before_end: int, label: str) -> ScheduleSpec:
    warmup = preset.base.schedule
    return ScheduleSpec(
        total=total,
        drops=(Drop(before_end=before_end, factor=DROP_FACTOR),),
        warmup_iterations=warmup.warmup_iterations,
        warmup_factor=warmup.warmup_factor,
        label=label,
    )
