"""A search for the hyper-parameters of each arm: what varies, within which bounds, at what cost.

The paper re-tuned for pre-training only, and random init gained from a search of its own (He et al. 2019, section 5.2,
1k images: 3.5 to 5.4 AP). So every arm is searched here, each alone and by default with the same number of trials.

A search trial is an ordinary trial: its `TrialSpec` follows from the arm and from one value a parameter, and it is
trained as a trunk up to its first drop and a branch after it. Trials that differ in their cool-down only share a trunk.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from raystudy.errors import SpecError
from raystudy.spec.identity import from_dict, to_dict
from raystudy.spec.parameter import Parameter
from raystudy.spec.plan import Plan, make_plan
from raystudy.spec.schedule import Drop
from raystudy.spec.study import Axis, Level, StudySpec
from raystudy.spec.trial import PretrainSpec, TrialSpec, replaced, with_pretraining

Value = float | int | str
"""Of one parameter; a choice is the name of its level."""

METRICS = ("box_ap", "mask_ap", "keypoint_ap", "voc_ap")


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One side of the comparison, searched alone."""

    name: str
    overrides: Mapping[str, Any]
    """Fields of ``TrialSpec`` that make it what it is (dotted paths)."""

    trials: int = 0
    """Its budget; 0 takes the search's, so that arms are equal unless somebody says otherwise."""


@dataclass(frozen=True, kw_only=True)
class SearchSpec:
    """Which hyper-parameters of which arms are searched, and how."""

    name: str
    base: TrialSpec
    arms: tuple[Arm, ...]
    parameters: tuple[Parameter, ...]
    trials: int
    """Of each arm."""

    generation: int = 4
    """Trials of an arm that are suggested together, from the results of all earlier generations.

    What is suggested is thus a function of results, never of when they came in.
    """

    startup: int = 4
    """Trials of an arm that are drawn at random before TPE takes over."""

    rungs: tuple[int, ...] = ()
    """Iterations at which a trial may be pruned, on the evaluation grid; none prunes nothing.

    A rung counts for a trial while its learning rate has not dropped yet: after a drop AP leaps, and a trial that is
    still at the full rate would lose to one that is not, whatever becomes of both.
    """

    min_values: int = 4
    """Values of earlier generations that a rung needs before it prunes."""

    keep: float = 0.5
    """A trial goes on past a rung when it is among this share of the best there: 0.5 is the median rule."""

    metric: Literal["box_ap", "mask_ap", "keypoint_ap", "voc_ap"] = "box_ap"
    """Of the evaluation at the end of a trial, in percent; larger is better."""

    seed: int = 0
    """Of the suggestions; a trial's own seed is the base's."""

    final_seeds: tuple[int, ...] = (1, 2, 3)
    """With which the best trial of each arm is to be run: not the one that it was chosen with."""

    preset: str = ""
    unit: int = 0
    question: str = ""
    pretraining: PretrainSpec | None = None
    """The recipe that makes weights for pretrained arms that name none."""

    def arm(self, name: str) -> Arm:
        """By name."""
        return next(arm for arm in self.arms if arm.name == name)

    def budget(self, arm: str) -> int:
        """Trials of the arm."""
        return self.arm(arm).trials or self.trials

    def trial(self, arm: str, values: Mapping[str, Value]) -> TrialSpec:
        """The trial of ``arm`` with these values; a parameter without one stays as the base has it."""
        trial = replaced(self.base, **self.arm(arm).overrides)
        for parameter in self.parameters:
            if parameter.name in values:
                trial = parameter.applied_to(trial, values[parameter.name])
        if trial.schedule != self.base.schedule:  # it is no longer the schedule that the label names
            trial = replaced(trial, **{"schedule.label": ""})
        return with_pretraining(trial, self.pretraining)

    def fork_points(self, arm: str) -> tuple[int, ...]:
        """Iterations at which trials of ``arm`` may leave a trunk, as far as the schedules can be counted."""
        counted = [p for p in self.parameters if p.decides_schedule and p.finite_values()]
        grids = [[(p.name, value) for value in p.finite_values()] for p in counted]
        trials = [self.trial(arm, dict(values)) for values in itertools.product(*grids)]
        return tuple(sorted({first_drop(trial) for trial in trials}))

    def best_study(self, values: Mapping[str, Mapping[str, Value]]) -> StudySpec:
        """The study that runs the arms, each with its own ``values``, over fresh seeds."""
        levels = [Level(name=arm, overrides=self._overrides(arm, chosen)) for arm, chosen in values.items()]
        seeds = Axis(name="seed", levels=tuple(Level(name=str(s), overrides={"seed": s}) for s in self.final_seeds))
        return StudySpec(
            name=f"{self.name}_best" if len(values) > 1 else f"{self.name}_best_{next(iter(values))}",
            question=self.question,
            base=self.base,
            axes=(Axis(name="init", levels=tuple(levels)), seeds),
            preset=self.preset,
            unit=self.unit,
            pretraining=self.pretraining,
        )

    def least_iterations(self) -> int:
        """Iterations if all trials are as short as may be, and pruned as soon as may be."""
        found = 0
        for arm in self.arms:
            budget = self.budget(arm.name)
            shortest = min(trial.schedule.total for trial in self.corners(arm.name))
            pruned_at = min([rung for rung in self.rungs if rung < shortest], default=shortest)
            unjudged = min(budget, -(-self.min_values // self.generation) * self.generation)
            found += unjudged * shortest + (budget - unjudged) * pruned_at
        return found

    def problems(self) -> list[str]:
        """Everything that is wrong with the search and with the trials at the corners of its space."""
        found = [*self._own_problems(), *(p for parameter in self.parameters for p in parameter.problems())]
        if found:
            return found
        for arm in self.arms:
            for problem in dict.fromkeys(p for trial in self.corners(arm.name) for p in trial.problems()):
                found.append(f"{problem} (in a trial of arm {arm.name} at the edge of what is searched)")
            combinations = math.prod(len(p.finite_values()) or math.inf for p in self.parameters)
            if self.budget(arm.name) > combinations:
                found.append(
                    f"arm {arm.name} has {self.budget(arm.name)} trials, but the parameters have only "
                    f"{combinations:g} combinations; take fewer trials or finer parameters"
                )
        return found

    def corners(self, arm: str) -> list[TrialSpec]:
        """Trials at both ends of each parameter (every choice of a choice), all others as the base has them."""
        ends = [(p.name, value) for p in self.parameters for value in p.ends()]
        return [self.trial(arm, {name: value}) for name, value in ends]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        plain: dict[str, Any] = to_dict(self)
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "SearchSpec":
        """The inverse of ``to_dict``; raises ``SpecError`` with all that does not fit."""
        return from_dict(cls, data, "search")

    def checked(self) -> "SearchSpec":
        """Itself; raises ``SpecError`` with every problem."""
        problems = self.problems()
        if problems:
            raise SpecError(problems)
        return self

    def _overrides(self, arm: str, values: Mapping[str, Value]) -> dict[str, Any]:
        """What makes the base this trial, field by field; of its schedule the whole."""
        trial, found = self.trial(arm, values), dict(self.arm(arm).overrides)
        for parameter in self.parameters:
            chosen = next((level for level in parameter.choices if level.name == values[parameter.name]), None)
            found |= {parameter.path: values[parameter.name]} if chosen is None else dict(chosen.overrides)
        schedule = {"schedule": to_dict(trial.schedule)} if any(path.startswith("schedule") for path in found) else {}
        return {path: value for path, value in found.items() if not path.startswith("schedule")} | schedule

    def _own_problems(self) -> list[str]:
        found = []
        if not self.arms or not self.parameters:
            found.append("a search needs at least one arm and one parameter")
        for kind, names in (("arm", [a.name for a in self.arms]), ("parameter", [p.name for p in self.parameters])):
            found += [f"{kind} {name} is given twice" for name in sorted({n for n in names if names.count(n) > 1})]
        for name in ("trials", "generation", "startup", "min_values"):
            if getattr(self, name) < 1:
                found.append(f"{name} is {getattr(self, name)}, but must be at least 1")
        if not 0 < self.keep < 1:
            found.append(f"keep is {self.keep:g}, but must be between 0 and 1: the share that goes on past a rung")
        off = [rung for rung in self.rungs if rung < 1 or rung % self.base.eval_interval]
        if off or list(self.rungs) != sorted(set(self.rungs)):
            found.append(
                f"rungs are {list(self.rungs)}, but must rise, each a multiple of eval_interval "
                f"{self.base.eval_interval}: only there a trial has a value"
            )
        if self.metric not in METRICS:
            found.append(f"metric is {self.metric!r}, but must be one of {', '.join(METRICS)}")
        if not self.final_seeds:
            found.append("final_seeds is empty, but the best trials are run with at least one seed")
        return found


def first_drop(trial: TrialSpec) -> int:
    """The last point of the evaluation grid at which the trial's learning rate has not dropped yet."""
    milestones = trial.schedule.milestones
    until = milestones[0] if milestones else trial.schedule.total
    return until // trial.eval_interval * trial.eval_interval


def split(trial: TrialSpec, forks: Sequence[int] = ()) -> Plan:
    """The trial's own plan: a trunk to its first drop and a branch, as beside a trial that cools down otherwise.

    Args:
        trial: to be trained.
        forks: where other trials may leave the same trunk; its checkpoints there are kept.
    """
    drops = trial.schedule.drops
    if not drops:
        return make_plan([trial])
    other = (Drop(before_end=drops[0].before_end, factor=drops[0].factor / 2), *drops[1:])
    beside = dataclasses.replace(trial, schedule=dataclasses.replace(trial.schedule, drops=other))
    both = make_plan([trial, beside])
    path = both.paths[trial.trial_id]
    segments = [both.segment(ref.segment_id) for ref in path]
    if len(segments) > 1:
        segments[0] = dataclasses.replace(segments[0], forks=tuple(sorted({*segments[0].forks, *forks})))
    return Plan(
        trials={trial.trial_id: trial},
        paths={trial.trial_id: path},
        segments=tuple(segments),
        pretrainings=both.pretrainings,
    )
