"""One hyper-parameter that is searched: a range of numbers, or named choices."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from raystudy.errors import SpecError
from raystudy.spec.study import Level
from raystudy.spec.trial import TrialSpec, replaced


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """What is searched: numbers between ``low`` and ``high`` for one field, or one of ``choices``."""

    name: str
    path: str = ""
    """The field of ``TrialSpec`` (dotted; ``*`` stands for every item: ``schedule.drops.*.factor``)."""

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    """Draw evenly in the logarithm."""

    steps: int = 0
    """Values lie on a grid of this many, ends included; 0 is every number between.

    On a grid, trials come to differ in their cool-down only and then share a trunk.
    """

    whole: bool = False
    """Whole numbers, such as iterations."""

    choices: tuple[Level, ...] = ()
    """Named settings instead of a range."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Fields that it sets."""
        return tuple({path: None for level in self.choices for path in level.overrides}) or (self.path,)

    @property
    def decides_schedule(self) -> bool:
        """Whether the length of a trial or the place of its drops may depend on it."""
        return any(path.startswith("schedule") and not path.endswith("factor") for path in self.paths)

    def finite_values(self) -> tuple[Any, ...]:
        """All values, where they can be counted; empty for a range without a grid."""
        if self.choices:
            return tuple(level.name for level in self.choices)
        return tuple(self._at(number / (self.steps - 1)) for number in range(self.steps)) if self.steps > 1 else ()

    def ends(self) -> tuple[Any, ...]:
        """The least and the largest value, or every choice."""
        return self.finite_values() if self.choices else (self._at(0.0), self._at(1.0))

    def on_grid(self, value: Any) -> Any:
        """The grid's value that is nearest to what was drawn."""
        if self.choices or self.steps < 2:
            return round(value) if self.whole and not self.choices else value
        scale = math.log if self.log else float
        return min(self.finite_values(), key=lambda candidate: abs(scale(candidate) - scale(value)))

    def applied_to(self, trial: TrialSpec, value: Any) -> TrialSpec:
        """The trial with the parameter at ``value``."""
        if self.choices:
            level = next((level for level in self.choices if level.name == value), None)
            if level is None:
                raise SpecError(f"parameter {self.name} has no choice {value!r}")
            return replaced(trial, **level.overrides)
        changed: TrialSpec = _set(trial, self.path.split("."), value)
        return changed

    def problems(self) -> list[str]:
        """What is wrong with the parameter itself, in words."""
        where = f"parameter {self.name}"
        if self.choices:
            names = [level.name for level in self.choices]
            found = [f"{where} has choices and a path; drop one"] if self.path else []
            return found + ([f"{where} has a choice twice: {', '.join(names)}"] if len(set(names)) < len(names) else [])
        found = []
        if self.path:
            try:
                _set(_ANY_TRIAL, self.path.split("."), self.low)
            except SpecError as error:
                found += [f"{where}: {problem}" for problem in error.problems]
        else:
            found.append(f"{where} has neither a path nor choices")
        if not self.low < self.high:
            found.append(f"{where} goes from {self.low:g} to {self.high:g}, but low must be below high")
        if self.log and self.low <= 0:
            found.append(f"{where} is logarithmic from {self.low:g}, but low must be above 0")
        if self.steps == 1 or self.steps < 0:
            found.append(f"{where} has {self.steps} steps, but must have at least 2, or 0 for every number")
        return found

    def _at(self, share: float) -> float | int:
        """The value at ``share`` of the way from low to high, to 6 digits, so that it reads well and sums exactly."""
        if self.log and self.low > 0:
            value = self.low * (self.high / self.low) ** share
        else:
            value = self.low + (self.high - self.low) * share
        return round(value) if self.whole else float(f"{value:.6g}")


_ANY_TRIAL = TrialSpec.from_dict({"schedule": {"total": 90_000}})
"""Only to look up whether a field exists."""


def _set(spec: Any, path: list[str], value: Any) -> Any:
    head, *rest = path
    if head == "*":
        return tuple(_set(item, rest, value) if rest else value for item in spec)
    names = [field.name for field in dataclasses.fields(spec)] if dataclasses.is_dataclass(spec) else []
    if head not in names:
        there = f"there are {', '.join(names)}" if names else "there is nothing to set"
        raise SpecError(f"a trial has no field {head!r} here; {there}")
    return dataclasses.replace(spec, **{head: _set(getattr(spec, head), rest, value) if rest else value})
