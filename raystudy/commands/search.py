"""`raystudy search`: hyper-parameters of each arm, and what a search script does."""

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from raystudy.cluster.events import show_events
from raystudy.commands import EXIT_FAILED_TRIALS, EXIT_INTERRUPTED, EXIT_OK
from raystudy.commands.frame import Subparsers, add_command
from raystudy.commands.scripts import load_function
from raystudy.commands.storage import print_search_report
from raystudy.commands.study import slots_here
from raystudy.console import make_console, size_text, text_table
from raystudy.errors import SpecError, WeightsError
from raystudy.flags import add_run_flags, add_trial_flags, build_settings, chosen_preset
from raystudy.search_records import SearchRecord, SearchTrial
from raystudy.spec.presets import Preset
from raystudy.spec.search import SearchSpec
from raystudy.spec.search_cost import corner_plan
from raystudy.spec.study import Axis, Level, StudySpec, with_workers
from raystudy.store import Store
from raystudy.study_file import write_study
from raystudy.weights_flags import with_weights

SearchFunction = Callable[[Preset], SearchSpec]

CALIBRATED_ITERATIONS = 20
"""Timed for each model, as many as `raystudy calibrate` times unasked."""


_EXAMPLES = """
raystudy search experiments/small_data_search.py --preset demo --plan
raystudy search experiments/small_data_search.py --preset demo --trials 20
raystudy search experiments/small_data_search.py --preset demo --calibrate
"""


def add(added: "Subparsers[Any]") -> None:
    """The command on search scripts."""
    text = "search the hyper-parameters of each arm, with equal budgets"
    command = add_command(added, "search", text, search_source, _EXAMPLES)
    command.add_argument("script", type=Path, help="such as experiments/small_data_search.py")
    add_search_flags(command)


def search_source(options: argparse.Namespace) -> int:
    """`raystudy search`."""
    return run_search_script(load_function(options.script, "search", "SearchSpec"), options)


def add_search_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that every search takes."""
    what = parser.add_argument_group("what to search")
    add_trial_flags(what)
    what.add_argument("--trials", type=int, help="of each arm; more than the storage has go on from there")
    what.add_argument("--search-seed", type=int, help="of the suggestions")
    what.add_argument("--keep", type=float, help="share of the best that go on past a rung; 0.5 is the median rule")
    what.add_argument("--no-prune", action="store_true", help="train every trial to its end")
    how = parser.add_argument_group("how to run it")
    add_run_flags(how)
    how.add_argument("--calibrate", action="store_true", help="measure how fast this hardware is, and search nothing")
    how.add_argument("--price-per-hour", type=float, help="of one device, to show money beside device-hours")
    how.add_argument("--budget", metavar="HOURS", help="device-hours that the search may take; arms get fewer trials")


def run_search_script(function: SearchFunction, options: argparse.Namespace) -> int:
    """What a search script does with its flags; the exit status."""
    from raystudy.commands.calibration import run_calibration, search_cost_lines, search_within_budget

    search = build_search(function, options)
    settings, corners = build_settings(search, options), corner_plan(search)
    if options.calibrate:
        run_calibration(corners, settings, CALIBRATED_ITERATIONS)
    if options.budget is not None:
        search = search_within_budget(search, settings.storage, options.budget)
    console, slots = make_console(), slots_here(corners, options.threads)
    for line in [*plan_lines(search), *search_cost_lines(search, settings.storage, slots, options.price_per_hour)]:
        console.print(line, soft_wrap=True, highlight=False)
    if options.plan or options.calibrate:
        return EXIT_OK
    from raystudy.api import commit
    from raystudy.cluster.search import run_search

    if options.log_format:
        show_events(options.log_format)
    try:
        record = run_search(search, settings, commit=commit(), tell=lambda trials: _tell(search, trials))
    except KeyboardInterrupt:
        console.print("Stopped; nothing that was committed is lost. Give the same command again to go on.")
        return EXIT_INTERRUPTED
    _print_result(search, record, Store.open(settings.storage))
    return EXIT_OK if set(record.best) == {arm.name for arm in search.arms} else EXIT_FAILED_TRIALS


def build_search(function: SearchFunction, options: argparse.Namespace) -> SearchSpec:
    """The script's search with the command line's overrides, checked.

    Raises:
        RaystudyError: what was asked cannot be; all problems at once.
    """
    preset = chosen_preset(function, options)
    search = function(preset)
    problems: list[str] = []
    search = _as_studies_are(dataclasses.replace(search, pretraining=preset.pretraining), options, problems)
    given = {"trials": options.trials, "seed": options.search_seed, "keep": options.keep}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    changes |= {"rungs": ()} if options.no_prune else {}
    search = dataclasses.replace(search, preset=preset.name, unit=preset.unit, **changes)
    problems += search.problems()
    if problems:
        raise SpecError(problems)
    return search


def _as_studies_are(search: SearchSpec, options: argparse.Namespace, problems: list[str]) -> SearchSpec:
    """The search with those flags that mean for its arms what they mean for a study's inits."""
    levels = tuple(Level(name=arm.name, overrides=arm.overrides) for arm in search.arms)
    study = StudySpec(
        name=search.name,
        base=search.base,
        axes=(Axis(name="init", levels=levels),),
        pretraining=search.pretraining,
    )
    try:
        study = with_weights(study, options)
    except (SpecError, WeightsError) as error:
        problems += error.problems
    try:
        study = study if options.workers is None else with_workers(study, options.workers)
    except SpecError as error:
        problems += error.problems
    arms = [
        dataclasses.replace(arm, overrides=level.overrides)
        for arm, level in zip(search.arms, study.axes[0].levels, strict=True)
    ]
    return dataclasses.replace(search, base=study.base, arms=tuple(arms), pretraining=study.pretraining)


def plan_lines(search: SearchSpec) -> list[str]:
    """What the search may take, for people."""
    from raystudy.models.size import state_bytes

    lines = [f"Search {search.name}: {search.question}" if search.question else f"Search {search.name}"]
    for parameter in search.parameters:
        values = parameter.finite_values()
        shown = ", ".join(map(_short, values)) if values else " to ".join(map(_short, parameter.ends()))
        lines.append(f"  {parameter.name}: {shown}" + (" (logarithmic)" if parameter.log and not values else ""))
    totals = [trial.schedule.total for arm in search.arms for trial in search.corners(arm.name)]
    trials = sum(search.budget(arm.name) for arm in search.arms)
    each = ", ".join(f"{arm.name} {search.budget(arm.name)}" for arm in search.arms)
    lines.append(f"{trials} trials ({each}) in generations of {search.generation}, of {_range(totals)} iterations each")
    lines.append(
        f"Pruning may leave {search.least_iterations():,} iterations instead of {trials * max(totals):,}; "
        "trunks that trials share are trained once"
    )
    if search.rungs:
        lines.append(
            f"Pruned at {_several(search.rungs)} iterations: what is not among the best {search.keep:.0%} of earlier "
            "generations there"
        )
    forks = max(len(search.fork_points(arm.name)) for arm in search.arms)
    size, checkpoints = state_bytes(search.base.model, search.base.data.num_categories), trials * (forks + 1)
    lines.append(f"Disk: at most {checkpoints} checkpoints of {size_text(size)}, {size_text(checkpoints * size)}")
    return lines


def _tell(search: SearchSpec, trials: Sequence[SearchTrial]) -> None:
    """A line for each trial that has ended."""
    console = make_console()
    for trial in trials:
        if trial.is_open:
            continue
        value = f", {search.metric} {trial.value:.2f}" if trial.value is not None else ""
        values = ", ".join(f"{name} {_short(chosen)}" for name, chosen in trial.values.items())
        budget = search.budget(trial.arm)
        console.print(
            f"{trial.arm} {trial.number + 1}/{budget} {trial.state.value} at {trial.iteration:,}{value} ({values})"
            + (f": {trial.error}" if trial.error else ""),
            soft_wrap=True,
            highlight=False,
        )


def _print_result(search: SearchSpec, record: SearchRecord, store: Store) -> None:
    from analysis.search import best_table, budget_table, importance_table
    from raystudy.cluster.search import database_url

    console = make_console()
    for table in (budget_table(record), best_table(record), importance_table(record)):
        if table.lines:
            console.print(f"\n{table.title}", style="bold")
            console.print(text_table([table.header, *table.lines]))
            console.print(table.note, soft_wrap=True, style="dim")
    console.print("\nTo run the best trials with fresh seeds, and to look at the search:")
    for path in write_best_studies(store, search, record):
        console.print(f"  raystudy run {path} --storage {store.location}", soft_wrap=True, highlight=False)
    console.print(f"  optuna-dashboard {database_url(store, search.name)}", soft_wrap=True, highlight=False)
    print_search_report(store.location, search.name, None)


def write_best_studies(store: Store, search: SearchSpec, record: SearchRecord) -> list[Path]:
    """The best trial of each arm as a study over fresh seeds, and all of them as one."""
    values = {arm: record.of_arm(arm)[number].values for arm, number in record.best.items()}
    studies = [search.best_study({arm: chosen}) for arm, chosen in values.items()]
    studies += [search.best_study(values)] if len(values) > 1 else []
    paths = [store.search_folder(search.name) / f"{study.name}.yaml" for study in studies]
    for path, study in zip(paths, studies, strict=True):
        write_study(path, study)
        store.files.write(f"searches/{search.name}/{path.name}", path.read_bytes())
    return paths


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _several(values: Sequence[int]) -> str:
    return ", ".join(f"{value:,}" for value in values)


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
