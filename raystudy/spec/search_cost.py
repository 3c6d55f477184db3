"""What a search may take before anything is trained, and how many of its trials fit a budget.

What it will suggest nobody knows, so that each trial counts as if it were as long, and each iteration and evaluation as
slow, as the space allows; pruning and trunks that trials share only lower it.
"""

import dataclasses
import math
from dataclasses import dataclass

from raystudy.errors import SpecError
from raystudy.spec.cost import Calibration, pretraining_key, speed_key
from raystudy.spec.plan import Plan, make_plan
from raystudy.spec.search import SearchSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchCost:
    """At most."""

    trial_hours: float
    """Device-hours of training and evaluation."""

    pretraining_hours: float
    least_trial_hours: float
    """What pruning may leave of ``trial_hours``, if all trials are short and pruned as soon as may be."""

    wall_s: float
    """Seconds until the last trial ends: an arm suggests a generation when the one before has ended."""

    @property
    def device_hours(self) -> float:
        """Of everything."""
        return self.trial_hours + self.pretraining_hours


def corner_plan(search: SearchSpec) -> Plan:
    """The trials at the edges of what is searched: every model that it may train is among them."""
    trials = {trial.trial_id: trial for arm in search.arms for trial in search.corners(arm.name)}
    return make_plan(list(trials.values()), share=False)


def search_cost(search: SearchSpec, calibration: Calibration, slots: int) -> SearchCost:
    """What ``search`` may take with so many trials side by side.

    ``calibration`` must cover ``corner_plan(search)`` whole.
    """
    recipes = corner_plan(search).pretrainings.values()
    pretraining = [recipe.iterations * calibration.pretraining[pretraining_key(recipe)] for recipe in recipes]
    whole = longest_arm = most_iterations = 0.0
    for arm in search.arms:
        trials, count = search.corners(arm.name), search.budget(arm.name)
        speeds = [calibration.speeds[speed_key(trial)] for trial in trials]
        total = max(trial.schedule.total for trial in trials)
        evaluations = max(math.ceil(trial.schedule.total / trial.eval_interval) for trial in trials)
        workers = max(trial.workers for trial in trials)
        trial_s = total * max(speed.iteration_s for speed in speeds)
        trial_s += evaluations * max(speed.evaluation_s for speed in speeds) / workers
        whole += count * trial_s * workers
        longest_arm = max(longest_arm, math.ceil(count / search.generation) * trial_s)
        most_iterations += count * total
    side_by_side = whole / max(trial.workers for arm in search.arms for trial in search.corners(arm.name)) / slots
    return SearchCost(
        trial_hours=whole / 3600,
        pretraining_hours=sum(s * recipe.workers for s, recipe in zip(pretraining, recipes, strict=True)) / 3600,
        least_trial_hours=whole / 3600 * search.least_iterations() / most_iterations,
        wall_s=max(pretraining, default=0.0) + max(side_by_side, longest_arm),
    )


def fit_search(search: SearchSpec, budget_hours: float, calibration: Calibration) -> SearchSpec:
    """The search with as many trials of each arm as the budget has room for; arms that were equal stay so.

    Raises:
        SpecError: not even one trial of each arm fits.
    """
    most = max(search.budget(arm.name) for arm in search.arms)
    for trials in range(most, 0, -1):
        arms = tuple(dataclasses.replace(arm, trials=min(trials, arm.trials)) for arm in search.arms)
        fitting = dataclasses.replace(search, arms=arms, trials=min(trials, search.trials))
        hours = search_cost(fitting, calibration, slots=1).device_hours
        if hours <= budget_hours:
            return fitting
    raise SpecError(
        f"one trial of each arm may take {hours:.3g} device-hours, but the budget is {budget_hours:.3g}; raise it"
    )
