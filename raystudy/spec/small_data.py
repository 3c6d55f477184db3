"""A search on little data at each preset's scale: its base trial, and the ranges that it looks in.

The paper says that hyper-parameters were searched for its small sets, and prints what was found for 35k images only.
The ranges hold that, the defaults, and the schedules of 1k and 35k images as Figures 7 and 8 show them.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from raystudy.spec.less_data import DROP_FACTOR, SCALES, SHOWN_AT
from raystudy.spec.parameter import Parameter
from raystudy.spec.presets import Preset
from raystudy.spec.schedule import Drop, ScheduleSpec
from raystudy.spec.search import Arm, SearchSpec
from raystudy.spec.study import Level
from raystudy.spec.trial import TrialSpec, replaced

WEIGHT_DECAYS = (1e-5, 1e-2)
"""In steps of 10; the default is 1e-4."""

DROP_FACTORS = (DROP_FACTOR, 0.5)
"""From what the paper found for 35k images; the default is 0.1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How long trials are at one preset, and on how much data."""

    data: dict[str, float]
    """Field of the data -> value."""

    totals: tuple[int, int]
    """Iterations of the shortest and the longest trial."""

    steps: int
    """Lengths from one to the other."""

    before_end: int
    """Iterations from the only drop to the end."""

    eval_interval: int
    log_interval: int
    rates: tuple[float, float] = (1 / 4, 4.0)
    """The least and the largest rate, as multiples of the preset's; searched in steps of 2."""


_SMOKE = Scale(
    data={"data.fraction": 0.25},
    totals=(12, 18),
    steps=2,
    before_end=6,
    eval_interval=6,
    log_interval=6,
    rates=(1 / 16, 1.0),  # with its short warm-up, more diverges
)

SCALE_OF = {
    1_000: {
        "smoke": _SMOKE,
        "demo": Scale(
            data={"data.fraction": 0.03}, totals=(270, 810), steps=4, before_end=90, eval_interval=180, log_interval=45
        ),
        "paper": Scale(
            data={"data.num_images": 1_000},
            totals=(15_000, 40_000),
            steps=6,
            before_end=10_000,
            eval_interval=5_000,
            log_interval=500,
        ),
    },
    35_000: {
        "smoke": dataclasses.replace(_SMOKE, data={"data.fraction": 0.5}),
        "demo": Scale(
            data={"data.fraction": 0.3}, totals=(405, 1215), steps=3, before_end=135, eval_interval=135, log_interval=45
        ),
        "paper": Scale(
            data={"data.num_images": 35_000},
            totals=(180_000, 540_000),
            steps=5,
            before_end=60_000,
            eval_interval=5_000,
            log_interval=500,
        ),
    },
}
"""Images of the paper's -> preset -> how long trials are. 1k: 15k and 35k in Figure 8; 35k: 2x to 6x in Figure 7."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """How much a search tries at one preset."""

    trials: int
    """Of each arm."""

    generation: int
    """Trials that are suggested together; the first of them are drawn at random."""

    rungs: tuple[int, ...]
    """Iterations at which trials are pruned."""


def init_search(preset: Preset, images: int, name: str, question: str, budgets: Mapping[str, Budget]) -> SearchSpec:
    """Hyper-parameters for each init by a search of its own, with equal budgets.

    Args:
        preset: gives the scale.
        images: 1,000 or 35,000 of the paper's.
        name: of the search.
        question: that it answers.
        budgets: by preset.
    """
    budget = budgets[preset.name]
    return SearchSpec(
        name=name,
        question=question,
        base=small_data(preset, images),
        arms=tuple(Arm(name=init, overrides={"init.kind": init}) for init in ("random", "pretrained")),
        parameters=search_parameters(preset, images),
        trials=budget.trials,
        generation=budget.generation,
        startup=budget.generation,
        rungs=budget.rungs,
        min_values=min(4, budget.generation),
    )


def small_data(preset: Preset, images: int) -> TrialSpec:
    """The trial at the shortest length and the preset's own hyper-parameters.

    Args:
        preset: gives the scale.
        images: 1,000 or 35,000 of the paper's.
    """
    scale, warmup = SCALE_OF[images][preset.name], preset.base.schedule
    schedule = ScheduleSpec(
        total=scale.totals[0],
        drops=(Drop(before_end=scale.before_end),),
        warmup_iterations=warmup.warmup_iterations,
        warmup_factor=warmup.warmup_factor,
    )
    intervals = {"eval_interval": scale.eval_interval, "log_interval": scale.log_interval}
    return replaced(preset.base, schedule=schedule, **scale.data, **intervals)


def search_parameters(preset: Preset, images: int) -> tuple[Parameter, ...]:
    """Base rate, weight decay, the factor of the drop, length and scales of the input; arguments as above."""
    scale, side = SCALE_OF[images][preset.name], preset.base.input.test_short_side
    rate, (shortest, longest) = preset.base.optimizer.base_lr, scale.totals
    sides = tuple(round(shown * side / SHOWN_AT) for shown in SCALES)
    return (
        Parameter(
            name="base_lr",
            path="optimizer.base_lr",
            low=rate * scale.rates[0],
            high=rate * scale.rates[1],
            log=True,
            steps=5,
        ),
        Parameter(
            name="weight_decay",
            path="optimizer.weight_decay",
            low=WEIGHT_DECAYS[0],
            high=WEIGHT_DECAYS[1],
            log=True,
            steps=4,
        ),
        Parameter(
            name="drop_factor", path="schedule.drops.*.factor", low=DROP_FACTORS[0], high=DROP_FACTORS[1], log=True
        ),
        Parameter(name="iterations", path="schedule.total", low=shortest, high=longest, whole=True, steps=scale.steps),
        Parameter(
            name="scales",
            choices=(
                Level(name=f"{side}", overrides={"input.train_short_sides": (side,)}),
                Level(name=f"{sides[0]} to {sides[-1]}", overrides={"input.train_short_sides": sides}),
            ),
        ),
    )
