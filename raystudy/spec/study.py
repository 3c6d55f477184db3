"""A study: a base trial and the axes along which it varies."""

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raystudy.errors import SpecError
from raystudy.spec.identity import from_dict, to_dict
from raystudy.spec.pretraining import at_most_workers
from raystudy.spec.trial import PretrainSpec, TrialSpec, replaced, with_pretraining


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """One value of an axis: a name for people, and the fields of ``TrialSpec`` that it sets (dotted paths)."""

    name: str
    overrides: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """A factor that varies."""

    name: str
    levels: tuple[Level, ...]


@dataclass(frozen=True, kw_only=True)
class StudySpec:
    """One figure or table of the paper: every combination of the axes' levels, applied to the base trial."""

    name: str
    base: TrialSpec
    axes: tuple[Axis, ...] = ()
    preset: str = ""
    unit: int = 0
    """Iterations of 1x; 0 when the study does not think in units."""

    question: str = ""
    """What the study answers, for its report."""

    pretraining: PretrainSpec | None = None
    """The recipe that makes weights for pretrained cells that name none; its backbone and norm are the cell's."""

    crossover_delta: float | None = None
    """Answer by bisection over schedules, for this many AP, instead of training the whole grid."""

    excluded: tuple[Mapping[str, str], ...] = field(default=())
    """Cells that are left out: a cell matches when it has all the levels that are named, axis -> level."""

    def cells(self) -> list[tuple[dict[str, str], TrialSpec]]:
        """Each cell with its levels (axis -> level name) and its trial; the last axis varies fastest."""
        found = []
        for levels in itertools.product(*(axis.levels for axis in self.axes)):
            names = {axis.name: level.name for axis, level in zip(self.axes, levels, strict=True)}
            if any(all(names.get(axis) == level for axis, level in cell.items()) for cell in self.excluded):
                continue
            trial = self.base
            for level in levels:
                trial = replaced(trial, **level.overrides)
            found.append((names, with_pretraining(trial, self.pretraining)))
        return found

    def trials(self) -> list[TrialSpec]:
        """Every trial of the study, checked.

        Raises:
            SpecError: cells that cannot exist, all of them at once, each with what to do.
        """
        problems = self.problems()
        if problems:
            raise SpecError(problems)
        return [trial for _, trial in self.cells()]

    def problems(self) -> list[str]:
        """What is wrong with the study and with its cells; one line a problem, not one a cell."""
        found = [f"axis {axis.name} has no level" for axis in self.axes if not axis.levels]
        names = [axis.name for axis in self.axes]
        found += [f"axis {name} is given twice" for name in sorted({n for n in names if names.count(n) > 1})]
        cells_of: dict[str, list[str]] = {}
        for levels, trial in self.cells():
            label = ", ".join(f"{axis}={level}" for axis, level in levels.items()) or "the base trial"
            for problem in trial.problems():
                cells_of.setdefault(problem, []).append(label)
        for problem, cells in cells_of.items():
            where = f"{cells[0]}" + (f" and {len(cells) - 1} more cells" if len(cells) > 1 else "")
            found.append(f"{problem} (in {where})")
        return found

    def with_axis(self, axis: Axis) -> "StudySpec":
        """The study with one axis replaced, or added at the end."""
        known = [a.name for a in self.axes]
        axes = tuple(axis if a.name == axis.name else a for a in self.axes)
        return dataclasses.replace(self, axes=axes if axis.name in known else (*axes, axis))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        plain: dict[str, Any] = to_dict(self)
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "StudySpec":
        """The inverse of ``to_dict``; raises ``SpecError`` with all that does not fit."""
        return from_dict(cls, data, "study")


def with_workers(study: StudySpec, workers: int) -> StudySpec:
    """The study on ``workers`` workers a trial, its global batch unchanged; pre-training takes no more of them.

    Raises:
        SpecError: the global batch cannot be dealt to that many workers.
    """
    batch = study.base.global_batch
    if workers < 1 or batch % workers:
        fits = [str(n) for n in range(1, batch + 1) if batch % n == 0]
        raise SpecError(
            f"--workers is {workers}, but a global batch of {batch} images can be dealt to {', '.join(fits)} workers"
        )
    base = dataclasses.replace(study.base, workers=workers, images_per_worker=batch // workers)
    recipe = study.pretraining and at_most_workers(study.pretraining, workers)
    return dataclasses.replace(study, base=base, pretraining=recipe)
