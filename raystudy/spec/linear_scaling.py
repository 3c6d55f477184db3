"""A study at another batch: the linear scaling rule of Goyal et al. 2017 (section 2.1), as Detectron applies it.

Half the images an iteration take twice the iterations at half the rate. So schedules, warm-up, drops, the switch of a
cascade, evaluations and rows stay at the same images seen; ``TrialSpec.lr_at`` scales the rate.
"""

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from raystudy.errors import SpecError
from raystudy.spec.identity import from_dict
from raystudy.spec.model import CascadeSpec, ModelSpec
from raystudy.spec.schedule import ScheduleSpec
from raystudy.spec.study import Axis, Level, StudySpec


def with_batch(study: StudySpec, images: int) -> StudySpec:
    """``study`` with ``images`` images an iteration over all workers of a trial.

    Raises:
        SpecError: its workers cannot share them, the study varies them itself, or a schedule would end between two
            iterations; all problems at once.
    """
    workers, batch = study.base.workers, study.base.global_batch
    if images < 1 or images % workers:
        raise SpecError(f"--batch is {images}, but {workers} workers share multiples of {workers} images")
    own = [axis.name for axis in study.axes for level in axis.levels if "images_per_worker" in level.overrides]
    if own:
        raise SpecError(f"--batch cannot be given to a study whose axis {own[0]} varies the images of a worker")
    stretch = _Stretch(Fraction(batch, images))
    base = dataclasses.replace(
        study.base,
        images_per_worker=images // workers,
        schedule=stretch.schedule(study.base.schedule),
        model=stretch.model(study.base.model),
        eval_interval=stretch.whole(study.base.eval_interval),
        log_interval=stretch.whole(study.base.log_interval),
    )
    axes = tuple(
        Axis(name=axis.name, levels=tuple(_stretched(level, stretch) for level in axis.levels)) for axis in study.axes
    )
    scaled = dataclasses.replace(study, base=base, axes=axes, unit=stretch.whole(study.unit))
    if stretch.broken:
        shown = ", ".join(map(str, sorted(stretch.broken)))
        raise SpecError(
            f"--batch {images} instead of {batch} makes everything {stretch.factor} times as long, and {shown} "
            f"iterations would end between two; take a batch that divides {batch}, or give another --unit"
        )
    return scaled


class _Stretch:
    """Multiplies iterations; remembers those that do not stay whole."""

    def __init__(self, factor: Fraction) -> None:
        self.factor = factor
        self.broken: set[int] = set()

    def whole(self, iterations: int) -> int:
        longer = iterations * self.factor
        if longer.denominator != 1:
            self.broken.add(iterations)
        return round(longer)

    def schedule(self, schedule: Any) -> ScheduleSpec:
        typed = schedule if isinstance(schedule, ScheduleSpec) else from_dict(ScheduleSpec, schedule, "schedule")
        return dataclasses.replace(
            typed,
            total=self.whole(typed.total),
            drops=tuple(dataclasses.replace(drop, before_end=self.whole(drop.before_end)) for drop in typed.drops),
            warmup_iterations=self.whole(typed.warmup_iterations),
        )

    def cascade(self, cascade: Any) -> CascadeSpec | None:
        if cascade is None:
            return None
        typed = cascade if isinstance(cascade, CascadeSpec) else from_dict(CascadeSpec, cascade, "cascade")
        return dataclasses.replace(typed, final_iterations=self.whole(typed.final_iterations))

    def model(self, model: Any) -> ModelSpec:
        typed = model if isinstance(model, ModelSpec) else from_dict(ModelSpec, model, "model")
        return dataclasses.replace(typed, cascade=self.cascade(typed.cascade))


def _stretched(level: Level, stretch: _Stretch) -> Level:
    kinds: dict[str, Callable[[Any], Any]] = {
        "schedule": stretch.schedule,
        "model": stretch.model,
        "model.cascade": stretch.cascade,
        "eval_interval": stretch.whole,
        "log_interval": stretch.whole,
        "schedule.total": stretch.whole,
        "schedule.warmup_iterations": stretch.whole,
    }
    overrides = {name: kinds[name](value) if name in kinds else value for name, value in level.overrides.items()}
    return Level(name=level.name, overrides=overrides)
