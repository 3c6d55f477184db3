"""What a search may take, and how many trials fit a budget."""

import dataclasses

import pytest

from raystudy.errors import SpecError
from raystudy.spec.cost import Calibration, Speed, pretraining_key, speed_key
from raystudy.spec.presets import load_preset
from raystudy.spec.search import SearchSpec
from raystudy.spec.search_cost import corner_plan, fit_search, search_cost
from raystudy.spec.small_data import Budget, init_search

PRESET = load_preset("demo")
BUDGET = Budget(trials=8, generation=4, rungs=(180,))
SEARCH = dataclasses.replace(
    init_search(PRESET, 1_000, "s", "", {"demo": BUDGET}), pretraining=PRESET.pretraining, preset="demo"
)
"""270 to 810 iterations, an evaluation every 180."""


def _calibration(search: SearchSpec, iteration_s: float = 1.0, evaluation_s: float = 10.0) -> Calibration:
    plan = corner_plan(search)
    speed = Speed(iteration_s=iteration_s, evaluation_s=evaluation_s)
    return Calibration(
        device="test",
        speeds={speed_key(trial): speed for trial in plan.trials.values()},
        pretraining={pretraining_key(recipe): 0.0 for recipe in plan.pretrainings.values()},
    )


def test_every_trial_counts_as_the_longest_and_generations_wait_for_each_other() -> None:
    found = search_cost(SEARCH, _calibration(SEARCH), slots=100)
    trial_s = 810 + 5 * 10
    assert found.device_hours == pytest.approx(2 * 8 * trial_s / 3600)
    assert found.wall_s == 2 * trial_s
    assert search_cost(SEARCH, _calibration(SEARCH), slots=1).wall_s == 2 * 8 * trial_s
    assert found.least_trial_hours == pytest.approx(found.trial_hours * SEARCH.least_iterations() / (2 * 8 * 810))


def test_the_slowest_model_that_may_be_chosen_counts() -> None:
    known = _calibration(SEARCH)
    assert len(known.speeds) > 1  # scales are searched
    slow = next(iter(known.speeds))
    dearer = dataclasses.replace(known, speeds={**known.speeds, slow: Speed(iteration_s=3.0, evaluation_s=10.0)})
    assert search_cost(SEARCH, dearer, 1).trial_hours == pytest.approx(2 * 8 * (3 * 810 + 5 * 10) / 3600)


def test_a_budget_shortens_both_arms_alike_or_is_refused() -> None:
    known, trial_hours = _calibration(SEARCH), (810 + 5 * 10) / 3600
    found = fit_search(SEARCH, 7 * trial_hours, known)
    assert [found.budget(arm.name) for arm in found.arms] == [3, 3]
    assert fit_search(SEARCH, 1000, known) == SEARCH
    with pytest.raises(SpecError, match="one trial of each arm may take"):
        fit_search(SEARCH, trial_hours, known)
