"""Confidence intervals of differences between arms, from two sources of chance.

*Pictures.* AP is measured on a sample of pictures. Image weights are drawn (a multinomial bootstrap) and are the same
for every trial, so that differences are paired; ``analysis.bootstrap`` gives each trial's AP under them.

*Seeds.* Another seed gives another trial. All branches of one trunk share its luck, so a seed is drawn as a whole
trunk: one random multiplier per (init, seed) scales that seed's deviations from the mean at every schedule. Resampling
two or three seeds with replacement would give intervals a third too narrow, so the multipliers are those of a
t distribution (deviations / sqrt(n (n - 1)), times a normal, over sqrt(chi2 / df)): with seeds alone the interval of
a difference is Student's, pooled over both inits. Inits count as independent samples, which is conservative when equal
seeds make them alike.

With one seed an arm there is nothing to learn about seeds: intervals then speak of these weights, not of the method.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Cell = tuple[str, int]
"""Init and total iterations: one arm at one schedule."""

Floats = NDArray[np.float64]

NUM_DRAWS = 1000
LEVEL = 0.95
"""Of every interval."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95% confidence interval; the bounds are nan when nothing is known of its chance."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def is_known(self) -> bool:
        """Whether there are bounds."""
        return not math.isnan(self.low)

    @property
    def lower(self) -> float:
        """The lower bound, or the estimate itself where there is none."""
        return self.low if self.is_known else self.value

    @property
    def upper(self) -> float:
        """The upper bound, or the estimate itself where there is none."""
        return self.high if self.is_known else self.value

    def __str__(self) -> str:
        bounds = f", 95% CI {_signed(self.low)}…{_signed(self.high)}" if self.is_known else ""
        return f"{_signed(self.value)}{bounds}"


@dataclass(frozen=True)
class Draws:
    """AP of every cell, observed and in each draw."""

    observed: Mapping[Cell, float]
    draws: Mapping[Cell, Floats]
    """Shape (NUM_DRAWS,) each; constant when nothing is known of chance."""

    image_draws: Mapping[Cell, Floats]
    """The same with the chance of the pictures alone."""

    has_images: bool
    """Whether the draws hold the chance of the pictures."""

    num_seeds: Mapping[Cell, int]

    @property
    def has_seeds(self) -> bool:
        """Whether the draws hold the chance of seeds: some arm has at least two."""
        return max(self.num_seeds.values(), default=0) > 1

    def interval(self, statistic: Callable[[Mapping[Cell, Floats]], Floats]) -> Interval:
        """Estimate and interval of a function of the cells' APs; whatever it chooses, it chooses in each draw anew."""
        value = float(statistic({cell: np.array([ap]) for cell, ap in self.observed.items()})[0])
        if not (self.has_images or self.has_seeds):
            return Interval(value)
        return Interval(value, *_bounds(statistic(self.draws)))

    def image_half_width(self, statistic: Callable[[Mapping[Cell, Floats]], Floats]) -> float:
        """Half of the interval that the pictures alone leave, which no number of seeds can make narrower."""
        low, high = _bounds(statistic(self.image_draws))
        return (high - low) / 2

    def totals(self, init: str) -> list[int]:
        """The schedules of an init, shortest first."""
        return sorted(total for one, total in self.observed if one == init)


def make_draws(
    values: Mapping[Cell, Mapping[int, float]],
    by_images: Mapping[Cell, Mapping[int, Floats]] | None = None,
    *,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
) -> Draws:
    """Draws of every cell.

    Args:
        values: for each cell, seed -> final AP.
        by_images: for each cell, seed -> AP in each draw of image weights, shape (num_draws,); None, or a cell or seed
            that is missing, means that the pictures' chance is unknown, and then it is left out for all.
        num_draws: as many as ``by_images`` has.
        seed: of the draws.
    """
    has_images = by_images is not None and all(set(by_images.get(c, {})) >= set(s) for c, s in values.items())
    seed_part = _seed_deviations(values, num_draws, np.random.default_rng(seed))
    image_draws: dict[Cell, Floats] = {}
    for cell, by_seed in values.items():
        image_draws[cell] = np.full(num_draws, _mean(by_seed))
        if has_images and by_images is not None:
            image_draws[cell] = np.mean([by_images[cell][s] for s in by_seed], axis=0)
    return Draws(
        observed={cell: _mean(by_seed) for cell, by_seed in values.items()},
        draws={cell: drawn + seed_part[cell] for cell, drawn in image_draws.items()},
        image_draws=image_draws,
        has_images=has_images,
        num_seeds={cell: len(by_seed) for cell, by_seed in values.items()},
    )


def _bounds(drawn: Floats) -> tuple[float, float]:
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return float(low), float(high)


def _seed_deviations(
    values: Mapping[Cell, Mapping[int, float]], num_draws: int, rng: np.random.Generator
) -> dict[Cell, Floats]:
    arms = sorted({(init, seed) for (init, _), by_seed in values.items() for seed in by_seed})
    normal = {arm: rng.standard_normal(num_draws) for arm in arms}
    inits = sorted({init for init, _ in values})
    degrees = sum(max(0, max(len(s) for (one, _), s in values.items() if one == init) - 1) for init in inits)
    if degrees == 0:
        return {cell: np.zeros(num_draws) for cell in values}
    spread = np.sqrt(degrees / rng.chisquare(degrees, num_draws))
    found = {}
    for (init, total), by_seed in values.items():
        deviations = _deviations(by_seed)
        if len(by_seed) == 1:
            # One seed says nothing of its own spread: borrow that of the other init at this schedule.
            others = [_deviations(s) for (one, t), s in values.items() if t == total and one != init and len(s) > 1]
            borrowed = others[0] if others else {}
            deviations = {seed: value * math.sqrt(len(borrowed)) for seed, value in borrowed.items()}
        total_deviation: Floats = np.zeros(num_draws)
        for seed, value in deviations.items():
            multiplier = normal.get((init, seed))
            if multiplier is None:
                multiplier = normal.setdefault((init, seed), rng.standard_normal(num_draws))
            total_deviation = total_deviation + multiplier * value
        found[(init, total)] = total_deviation * spread
    return found


def _deviations(by_seed: Mapping[int, float]) -> dict[int, float]:
    """Deviations from the mean, scaled so that with normal multipliers they have the variance of the mean."""
    n = len(by_seed)
    if n < 2:
        return {}
    mean = _mean(by_seed)
    return {seed: (value - mean) / math.sqrt(n * (n - 1)) for seed, value in by_seed.items()}


def _mean(by_seed: Mapping[int, float]) -> float:
    return float(np.mean(list(by_seed.values())))


def _signed(value: float) -> str:
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")
