"""Costs on plans that can be added up by hand."""

import dataclasses

import pytest

from raystudy.errors import SpecError
from raystudy.spec.budget import fit_budget
from raystudy.spec.cost import Calibration, Speed, node_seconds, plan_cost, pretraining_key, speed_key
from raystudy.spec.makespan import makespan
from raystudy.spec.plan import Plan, make_plan
from raystudy.spec.presets import init_axis, load_preset, norm_axis
from raystudy.spec.study import StudySpec, with_workers
from raystudy.spec.trial import replaced

SMOKE = load_preset("smoke")


def study(seeds: tuple[int, ...] = (0, 1, 2)) -> StudySpec:
    return StudySpec(
        name="priced",
        base=SMOKE.base,
        axes=(init_axis(), SMOKE.schedule_axis(), SMOKE.seed_axis(seeds)),
        pretraining=SMOKE.pretraining,
    )


def calibrated(plan: Plan, iteration_s: float = 2.0, evaluation_s: float = 30.0) -> Calibration:
    speed = Speed(iteration_s=iteration_s, evaluation_s=evaluation_s)
    return Calibration(
        device="one",
        speeds={speed_key(trial): speed for trial in plan.trials.values()},
        pretraining={pretraining_key(recipe): 1.0 for recipe in plan.pretrainings.values()},
    )


def test_a_lone_trial_costs_its_iterations_and_evaluations() -> None:
    plan = make_plan([dataclasses.replace(SMOKE.base, schedule=SMOKE.schedule(2))])
    cost = plan_cost(plan, calibrated(plan))
    assert cost.training_hours == pytest.approx(18 * 2.0 / 3600)
    assert cost.evaluation_hours == pytest.approx(6 * 30.0 / 3600)  # every 3 of 18 iterations
    assert cost.pretraining_hours == 0


def test_an_end_off_the_grid_is_evaluated_too() -> None:
    plan = make_plan([replaced(SMOKE.base, eval_interval=6)])
    assert plan_cost(plan, calibrated(plan)).evaluation_hours == pytest.approx(2 * 30.0 / 3600)  # at 6 and 9


def test_shared_trunks_cost_less_than_trials_alone() -> None:
    trials = study().trials()
    shared, naive = make_plan(trials), make_plan(trials, share=False)
    price = calibrated(shared)
    hours = {name: plan_cost(plan, price) for name, plan in (("shared", shared), ("naive", naive))}
    assert hours["shared"].training_hours * 3600 == pytest.approx(2.0 * shared.shared_iterations)
    assert hours["naive"].training_hours * 3600 == pytest.approx(2.0 * shared.naive_iterations)
    assert hours["shared"].pretraining_hours * 3600 == pytest.approx(10 * 1.0)
    assert hours["shared"].evaluation_hours < hours["naive"].evaluation_hours


def test_workers_cost_devices_but_evaluate_together() -> None:
    alone, pair = (make_plan(with_workers(study((0,)), workers).trials()) for workers in (1, 2))
    one, two = (plan_cost(plan, calibrated(plan)) for plan in (alone, pair))
    assert two.training_hours == pytest.approx(2 * one.training_hours)
    assert two.evaluation_hours == pytest.approx(one.evaluation_hours)


def test_the_makespan_in_seconds_is_that_in_iterations_when_all_are_equally_long() -> None:
    plan = make_plan(study().trials())
    price = calibrated(plan, iteration_s=1.0, evaluation_s=0.0)
    for slots in (1, 2, 5):
        assert makespan(plan, slots, node_seconds(plan, price)) == pytest.approx(makespan(plan, slots))


def test_norms_are_measured_apart_and_seeds_together() -> None:
    base = SMOKE.base
    assert speed_key(base) == speed_key(replaced(base, seed=4, **{"init.kind": "pretrained"}))
    assert speed_key(base) == speed_key(dataclasses.replace(base, schedule=SMOKE.schedule(2)))
    changes = {"model.norm": "bn", "input.max_side": 64, "images_per_worker": 2, "precision": "bf16", "compiled": True}
    keys = {speed_key(replaced(base, **{name: value})) for name, value in changes.items()}
    assert len({*keys, speed_key(base)}) == 6


def test_what_was_not_measured_is_named() -> None:
    plan = make_plan(study((0,)).with_axis(norm_axis(("gn", "bn"))).trials())
    known = calibrated(make_plan(study((0,)).trials()))
    missing = known.uncovered(plan)
    assert missing
    assert all("-bn-" in name for name in missing)
    assert calibrated(plan).uncovered(plan) == []


def test_a_budget_drops_seeds_from_the_last_and_no_more_than_needed() -> None:
    whole = study()

    def cost(candidate: StudySpec) -> float:
        plan = make_plan(candidate.trials())
        return plan_cost(plan, calibrated(plan)).device_hours

    assert fit_budget(whole, cost(whole), cost, ["seed"]) == (whole, [])
    fitted, dropped = fit_budget(whole, cost(study((0, 1))) + 1e-9, cost, ["seed"])
    assert dropped == ["seed 2"]
    assert fitted.trials() == study((0, 1)).trials()
    fitted, dropped = fit_budget(whole, 0.1 * cost(whole), cost, ["seed", "schedule", "init"])
    assert dropped == ["seed 2", "seed 1", "schedule 2x", "init pretrained"]


def test_a_budget_that_nothing_fits_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(SpecError, match=r"takes 7 device-hours after dropping seed 2, seed 1, but the budget is 1"):
        fit_budget(study(), 1, lambda _: 7.0, ["seed"])
    with pytest.raises(SpecError, match="--drop names colour, but the study varies init, schedule, seed"):
        fit_budget(study(), 1, lambda _: 7.0, ["colour"])
