"""Measuring speeds, and the device-hours, money and wall time that follow from what it measured."""

import re
from collections.abc import Sequence

from raystudy.cluster.calibration import calibrate as measure
from raystudy.cluster.calibration import read_calibration
from raystudy.cluster.settings import RunSettings
from raystudy.commands import EXIT_OK
from raystudy.console import make_console, wall_time
from raystudy.errors import SpecError, StorageError
from raystudy.spec.budget import fit_budget
from raystudy.spec.cost import Calibration, node_seconds, plan_cost
from raystudy.spec.makespan import makespan
from raystudy.spec.plan import Plan, make_plan
from raystudy.spec.search import SearchSpec
from raystudy.spec.search_cost import corner_plan, fit_search, search_cost
from raystudy.spec.study import StudySpec
from raystudy.store import Store

_BUDGET = re.compile(r"(\d+(?:\.\d+)?)\s*(?:gpuh|cpuh|h)?")


def run_calibration(plan: Plan, settings: RunSettings, iterations: int) -> int:
    """Measure every model of a plan where it would run; the exit status."""
    console, count = make_console(), 0
    Store.open(settings.storage, create=True)
    for name, known in measure(plan, settings, iterations):
        console.print(f"measured {name} on {known.device}", highlight=False)
        count += 1
    if not count:
        console.print("everything of this has been measured on this device already", highlight=False)
    return EXIT_OK


def cost_lines(plan: Plan, storage: str, slots: int, price_per_hour: float | None, source: str) -> list[str]:
    """What ``plan`` is expected to take, for people; how to find out when nothing was measured."""
    calibration = known_calibration(plan, storage)
    if calibration is None:
        return [f"Cost: not measured on this hardware; `raystudy calibrate {source}` with the same flags does that"]
    found = plan_cost(plan, calibration)
    money = _money(found.device_hours, price_per_hour)
    parts = f"training {found.training_hours:.3g}, evaluation {found.evaluation_hours:.3g}"
    parts += f", pre-training {found.pretraining_hours:.3g}" if plan.pretrainings else ""
    seconds = makespan(plan, slots, node_seconds(plan, calibration))
    return [
        f"Cost: {found.device_hours:.3g} device-hours ({parts}){money}, about {wall_time(seconds)} with {slots} side "
        f"by side, as measured on {calibration.device}"
    ]


def within_budget(study: StudySpec, storage: str, budget: str, drop: Sequence[str], share: bool) -> StudySpec:
    """The study, cut down as ``--drop`` says until it fits ``--budget``; prints what was dropped.

    Raises:
        SpecError: no number, nothing measured yet, or no way to fit.
    """
    hours = _budget_hours(budget)
    calibration = known_calibration(make_plan(study.trials()), storage)
    if calibration is None:
        raise SpecError(
            f"--budget needs to know how fast this hardware is, and storage {storage} has no figures for all models of "
            "this study: run `raystudy calibrate` with the same flags first"
        )

    def cost(candidate: StudySpec) -> float:
        return plan_cost(make_plan(candidate.trials(), share=share), calibration).device_hours

    found, dropped = fit_budget(study, hours, cost, drop)
    if dropped:
        make_console(stderr=True).print(f"To fit the budget, dropped: {', '.join(dropped)}", highlight=False)
    return found


def search_cost_lines(search: SearchSpec, storage: str, slots: int, price_per_hour: float | None) -> list[str]:
    """What ``search`` may take, for people; how to find out when nothing was measured."""
    calibration = known_calibration(corner_plan(search), storage)
    if calibration is None:
        return ["Cost: not measured on this hardware; the same command with --calibrate does that"]
    found = search_cost(search, calibration, slots)
    least = found.least_trial_hours + found.pretraining_hours
    money = _money(found.device_hours, price_per_hour)
    return [
        f"Cost: at most {found.device_hours:.3g} device-hours (pruning may leave {least:.3g}){money}, within about "
        f"{wall_time(found.wall_s)} with {slots} side by side, as measured on {calibration.device}"
    ]


def search_within_budget(search: SearchSpec, storage: str, budget: str) -> SearchSpec:
    """The search with as many trials of each arm as fit ``--budget``; prints what was dropped.

    Raises:
        SpecError: no number, nothing measured yet, or no way to fit.
    """
    hours = _budget_hours(budget)
    calibration = known_calibration(corner_plan(search), storage)
    if calibration is None:
        raise SpecError(
            f"--budget needs to know how fast this hardware is, and storage {storage} has no figures for all models of "
            "this search: give the same command with --calibrate first"
        )
    found = fit_search(search, hours, calibration)
    shrunk = [(arm.name, search.budget(arm.name), found.budget(arm.name)) for arm in search.arms]
    told = [f"{name} {now} trials instead of {before}" for name, before, now in shrunk if now < before]
    if told:
        make_console(stderr=True).print(f"To fit the budget: {', '.join(told)}", highlight=False)
    return found


def _budget_hours(budget: str) -> float:
    match = _BUDGET.fullmatch(budget.strip().lower())
    if match is None:
        raise SpecError(f"--budget is {budget!r}, but must be device-hours such as 200gpuh or 3.5h")
    return float(match.group(1))


def _money(device_hours: float, price_per_hour: float | None) -> str:
    return f", {price_per_hour * device_hours:,.2f} at {price_per_hour:g} an hour" if price_per_hour else ""


def known_calibration(plan: Plan, storage: str) -> Calibration | None:
    """What was measured for all of ``plan`` in ``storage``; None when some of it was not."""
    try:
        found = read_calibration(Store.open(storage))
    except StorageError:  # none yet: a plan may be asked for before anything is there
        return None
    return None if found is None or found.uncovered(plan) else found
