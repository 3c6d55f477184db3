"""When training from scratch catches up, and at which data size it breaks down."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics import Cell, Draws, Floats, Interval

TOLERANCES = (0.3, 0.4, 0.5, 1.0, 2.0)
"""Values of δ that the page shows, AP; on the paper's own R50 numbers the crossover is 6x, 5x, 4x, 4x and 3x."""

DEFAULT_TOLERANCE = 1.0
_ROUNDING = 1e-9
"""APs are printed with one decimal: 40.7 - 41.1 must count as -0.4."""


@dataclass(frozen=True)
class Crossover:
    """The shortest schedule at which random init is within ``tolerance`` AP of pre-trained's best."""

    tolerance: float
    total: int | None
    """Iterations; None when no schedule of the study is."""

    share: float
    """Share of the draws in which it had crossed over by the longest schedule; nan without intervals."""


def delta(draws: Draws, total: int) -> Interval:
    """Random minus pre-trained at one schedule."""
    return draws.interval(lambda ap: ap["random", total] - ap["pretrained", total])


def delta_to_best(draws: Draws, total: int) -> Interval:
    """Random at one schedule minus pre-trained at its best one, which each draw chooses anew."""
    return draws.interval(_to_best(total))


def images_alone(draws: Draws, total: int) -> float:
    """Half of the interval of ``delta_to_best`` that the validation pictures alone leave, AP."""
    return draws.image_half_width(_to_best(total))


def _to_best(total: int) -> Callable[[Mapping[Cell, Floats]], Floats]:
    def statistic(ap: Mapping[Cell, Floats]) -> Floats:
        return ap["random", total] - best(ap, "pretrained")

    return statistic


def delta_of_bests(draws: Draws) -> Interval:
    """Random at its best schedule minus pre-trained at its best."""
    return draws.interval(lambda ap: best(ap, "random") - best(ap, "pretrained"))


def best(ap: Mapping[Cell, Floats], init: str) -> Floats:
    """AP of the best schedule of an init, in each draw."""
    found: Floats = np.max([values for (one, _), values in ap.items() if one == init], axis=0)
    return found


def crossovers(draws: Draws, tolerances: Sequence[float] = TOLERANCES) -> list[Crossover]:
    """The crossover for each tolerance: the lower bound of random - pre-trained's best reaches -tolerance.

    Where there are no intervals the estimates themselves are compared; the caller has to say so.
    """
    totals = draws.totals("random")
    if not totals or not draws.totals("pretrained"):
        return []
    gaps = {total: delta_to_best(draws, total) for total in totals}
    longest = draws.draws["random", totals[-1]] - best(draws.draws, "pretrained")
    found = []
    for tolerance in tolerances:
        total = next((t for t in totals if gaps[t].lower >= -tolerance - _ROUNDING), None)
        is_known = gaps[totals[-1]].is_known
        share = float(np.mean(longest >= -tolerance - _ROUNDING)) if is_known else math.nan
        found.append(Crossover(tolerance, total, share))
    return found


def gap_draws(draws: Draws) -> Floats:
    """Random minus pre-trained, each at its best schedule, in each draw."""
    return best(draws.draws, "random") - best(draws.draws, "pretrained")


def break_even_size(gaps: Mapping[float, tuple[float, Floats]], tolerance: float = DEFAULT_TOLERANCE) -> Interval:
    """The data size, images, below which random init stays more than ``tolerance`` AP behind, with its interval.

    Between two sizes the gap is taken to change linearly with the logarithm of the size. A draw without a crossing
    counts as 0 (never behind) or infinity (behind at every size), so that the bounds may be either.

    Args:
        gaps: size -> the gap, observed and in each draw; draws that are constant give no bounds.
        tolerance: AP.
    """
    sizes = sorted(gaps)
    observed = np.array([[gaps[size][0]] for size in sizes])
    drawn = np.stack([gaps[size][1] for size in sizes])
    value = float(_crossing(np.log(sizes), observed + tolerance)[0])
    if np.ptp(drawn, axis=1).max() == 0:
        return Interval(value)
    # Bounds may be infinite: take drawn sizes themselves, not means of two.
    low, high = np.percentile(_crossing(np.log(sizes), drawn + tolerance), [2.5, 97.5], method="nearest")
    return Interval(value, float(low), float(high))


def _crossing(logs: Floats, margins: Floats) -> Floats:
    """The largest size at which the margin [sizes, draws] changes from below 0 to 0 or more, on the way up."""
    found: Floats = np.where(margins[-1] < 0, math.inf, 0.0)
    for i in range(len(logs) - 1):
        low, high = margins[i], margins[i + 1]
        rises = (low < 0) & (high >= 0) & np.isfinite(found)
        share = np.divide(-low, high - low, out=np.zeros_like(low), where=rises)
        found = np.where(rises, np.exp(logs[i] + share * (logs[i + 1] - logs[i])), found)
    return found


@dataclass(frozen=True)
class BreakEven:
    """Where, on the way to less data, random init breaks down."""

    below: float | None
    """Largest data size (images) from which on, downwards, pre-training wins; None when it wins nowhere."""

    above: float | None
    """Smallest size, upwards of ``below``, at which its win is not shown; None when it wins at every size."""


def break_even(gaps: Mapping[float, Interval], tolerance: float = DEFAULT_TOLERANCE) -> BreakEven:
    """From the gap random - pre-trained (each at its best) at each data size, images.

    Pre-training wins at a size when the interval's upper bound lies below 0; without intervals, when the gap is
    below -``tolerance``.
    """
    sizes = sorted(gaps)
    below: float | None = None
    for size in sizes:
        gap = gaps[size]
        wins = gap.high < 0 if gap.is_known else gap.value < -tolerance
        if not wins:
            return BreakEven(below, size)
        below = size
    return BreakEven(below, None)
