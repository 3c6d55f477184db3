"""How long a trial trains, and at which learning rate.

The paper writes a schedule as *kx*: k times 90k iterations, with the learning rate cut to a tenth at 60k and again at
20k iterations before the end, whatever the total is (He et al. 2019, section 4). So drops are counted from the end:
a longer schedule only lengthens the first phase, and all schedules of one study share their beginning.
"""

from dataclasses import dataclass
from fractions import Fraction

from raystudy.errors import SpecError
from raystudy.spec.identity import located

PAPER_UNIT = 90_000
"""Iterations of the paper's 1x schedule."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drop:
    """One cut of the learning rate."""

    before_end: int
    """Iterations between the drop and the end of the schedule."""

    factor: float = 0.1
    """What the learning rate is multiplied with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleSpec:
    """Total iterations, drops counted from the end, warm-up."""

    total: int
    """Iterations until the trial ends."""

    drops: tuple[Drop, ...] = (Drop(before_end=60_000), Drop(before_end=20_000))
    """In the order in which they happen."""

    warmup_iterations: int = 500
    """Iterations over which the learning rate rises linearly."""

    warmup_factor: float = 1 / 3
    """The learning rate of iteration 0, as a share of the base learning rate (Detectron: 1/3)."""

    label: str = located("")
    """What the schedule is called, such as ``6x``; the total when empty."""

    @classmethod
    def from_units(
        cls, k: float, unit: int = PAPER_UNIT, *, warmup_iterations: int = 500, warmup_factor: float = 1 / 3
    ) -> "ScheduleSpec":
        """The paper's *kx* schedule for a data set whose 1x has ``unit`` iterations.

        Raises:
            SpecError: the total or a drop does not fall on a whole iteration.
        """
        total = Fraction(k).limit_denominator(1000) * unit
        befores = [Fraction(share, PAPER_UNIT) * unit for share in (60_000, 20_000)]
        if any(value.denominator != 1 for value in (total, *befores)):
            raise SpecError(
                f"a {k:g}x schedule of unit {unit} has its end or its drops between two iterations; "
                f"take a unit that is a multiple of 9, such as {max(9, round(unit / 9) * 9)}"
            )
        return cls(
            total=int(total),
            drops=tuple(Drop(before_end=int(before)) for before in befores),
            warmup_iterations=warmup_iterations,
            warmup_factor=warmup_factor,
            label=f"{k:g}x",
        )

    @property
    def name(self) -> str:
        """The label, or the total in iterations."""
        return self.label or (f"{self.total // 1000}k" if self.total % 1000 == 0 else f"{self.total}it")

    @property
    def milestones(self) -> tuple[int, ...]:
        """The first iteration of each phase after the first, counted from 0."""
        return tuple(self.total - drop.before_end for drop in self.drops)

    def factor_at(self, iteration: int) -> float:
        """The product of the drops that have happened when ``iteration`` (from 0) is trained; warm-up not included."""
        factor = 1.0
        for drop, milestone in zip(self.drops, self.milestones, strict=True):
            if iteration >= milestone:
                factor *= drop.factor
        return factor

    def problems(self) -> list[str]:
        """What is wrong, in words; empty when the schedule can be trained."""
        found = []
        if self.total < 1:
            found.append(f"schedule total is {self.total}, but must be at least 1 iteration")
        if self.warmup_iterations < 0 or not 0 < self.warmup_factor <= 1:
            found.append(
                f"warm-up is {self.warmup_iterations} iterations from {self.warmup_factor:g}, "
                "but must be at least 0 iterations from a factor in (0, 1]"
            )
        befores = [drop.before_end for drop in self.drops]
        if befores != sorted(set(befores), reverse=True):
            found.append(f"drops lie {befores} iterations before the end, but must come strictly one after another")
        if any(drop.factor <= 0 for drop in self.drops):
            found.append(f"drop factors are {[d.factor for d in self.drops]}, but must be above 0")
        if befores and self.total >= 1 and max(befores) >= self.total:
            found.append(
                f"schedule {self.name} ({self.total} iterations) drops its learning rate {max(befores)} iterations "
                "before its end, so that no phase at the full rate is left; make it longer or its drops later"
            )
        elif befores and self.milestones[0] < self.warmup_iterations:
            found.append(
                f"schedule {self.name} drops its learning rate at iteration {self.milestones[0]}, inside its "
                f"warm-up of {self.warmup_iterations}; make it longer or its warm-up shorter"
            )
        if befores and min(befores) < 1:
            found.append(f"a drop lies {min(befores)} iterations before the end, but must lie at least 1 before it")
        return found


def warmup_factor_at(iteration: int, warmup_iterations: int, warmup_factor: float) -> float:
    """The share of the learning rate at which ``iteration`` (from 0) is trained: linear from ``warmup_factor`` to 1."""
    if iteration >= warmup_iterations:
        return 1.0
    return warmup_factor + (1.0 - warmup_factor) * iteration / warmup_iterations
