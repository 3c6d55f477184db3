"""`raystudy run` and `raystudy plan`, and what experiment scripts do."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raystudy.cluster.events import show_events
from raystudy.cluster.settings import RunSettings
from raystudy.commands import EXIT_FAILED_TRIALS, EXIT_INTERRUPTED, EXIT_OK
from raystudy.commands.frame import Subparsers, add_command, add_json_flag, print_json
from raystudy.commands.scripts import load_function
from raystudy.commands.storage import print_report
from raystudy.console import make_console
from raystudy.flags import (
    StudyFunction,
    add_study_flags,
    build_settings,
    build_study,
    check_flags_of_file,
    overridden,
)
from raystudy.records import TrialState
from raystudy.spec.plan import Plan, make_plan
from raystudy.spec.study import StudySpec
from raystudy.store import Store
from raystudy.study_file import SUFFIXES, read_study, write_study

if TYPE_CHECKING:
    from raystudy.api import Outcome


_RUN = """
raystudy run experiments/schedule_length.py --preset demo
raystudy run experiments/my_data.py --preset demo --data path/to/coco --schedules 1,2
raystudy run study.yaml --storage runs/mine
"""
_PLAN = """
raystudy plan experiments/schedule_length.py --preset paper
raystudy plan experiments/schedule_length.py --preset demo --save study.yaml
raystudy plan study.yaml --json
"""
_CALIBRATE = """
raystudy calibrate experiments/schedule_length.py --preset demo
raystudy calibrate study.yaml --iterations 50
"""
_AGAIN = "Given again after Ctrl-C or a crash, the same command goes on; given again after the end, it only reports."


def add(added: "Subparsers[Any]") -> None:
    """The commands on experiment scripts and study files."""
    run = add_command(added, "run", "run an experiment script or a study file", run_source, _RUN, _AGAIN)
    plan = add_command(added, "plan", "print what a script or study file would train", plan_source, _PLAN)
    text = "measure how fast this hardware is, for the cost in the plan"
    calibrate = add_command(added, "calibrate", text, calibrate_source, _CALIBRATE)
    for command in (run, plan, calibrate):
        command.add_argument("source", type=Path, help="such as experiments/schedule_length.py, or a .yaml or .json")
        add_study_flags(command)
    plan.add_argument("--save", type=Path, metavar="FILE", help="write the study as a .yaml or .json that `run` takes")
    add_json_flag(plan)
    calibrate.add_argument("--iterations", type=int, default=20, help="timed for each model (default %(default)s)")


def run_script(function: StudyFunction, options: argparse.Namespace) -> int:
    """What an experiment script does with its flags; the exit status."""
    return run_study(build_study(function, options), options)


def run_source(options: argparse.Namespace) -> int:
    """`raystudy run`."""
    return run_study(_study_of(options), options)


def plan_source(options: argparse.Namespace) -> int:
    """`raystudy plan`."""
    study = _study_of(options, check_trials=options.save is None)
    settings = build_settings(study, options)
    study = _within_budget(study, settings, options)
    if options.json:
        from raystudy.commands.plan_json import plan_content

        plan = make_plan(study.trials(), share=not options.no_share)
        slots, size = slots_here(plan, options.threads), _largest_checkpoint(plan)
        print_json(plan_content(study, plan, settings.storage, slots, size))
    else:
        _print_plan(study, settings, options)
    if options.save is not None:
        write_study(options.save, study)
        make_console(stderr=options.json).print(f"Study: {options.save}", soft_wrap=True, highlight=False)
    return EXIT_OK


def calibrate_source(options: argparse.Namespace) -> int:
    """`raystudy calibrate`."""
    from raystudy.commands.calibration import run_calibration

    study = _study_of(options)
    settings = build_settings(study, options)
    plan = make_plan(study.trials(), share=not options.no_share)
    status = run_calibration(plan, settings, options.iterations)
    _print_plan(study, settings, options)
    return status


def run_study(study: StudySpec, options: argparse.Namespace) -> int:
    """Plan, run and report a study; the exit status."""
    from raystudy.console import trials_table

    console = make_console()
    settings = build_settings(study, options)
    study = _within_budget(study, settings, options)
    _print_plan(study, settings, options)
    if options.plan:
        return EXIT_OK
    from raystudy.api import run

    if options.log_format:
        show_events(options.log_format)
    watch = f"raystudy report {settings.storage} --study {study.name} --live"
    console.print(f"\nStorage: {settings.storage}; a report while it runs: {watch}", soft_wrap=True, highlight=False)
    try:
        if study.crossover_delta is not None:
            return _search_crossover(study, settings)
        outcome = run(study, settings, share=not options.no_share, price_per_hour=options.price_per_hour)
    except KeyboardInterrupt:
        console.print("Stopped; nothing that was committed is lost. Give the same command again to go on.")
        return EXIT_INTERRUPTED
    console.print(trials_table(outcome.records.values()))
    for record in outcome.records.values():
        if record.error:
            console.print(f"{record.trial_id} {record.state.value}: {record.error}", soft_wrap=True)
    if any(record.state == TrialState.FAILED for record in outcome.records.values()) and not settings.retry_failed:
        console.print("What failed is not tried again unasked: mend it and add --retry-failed.", soft_wrap=True)
    for line in _repair_lines(outcome):
        console.print(line, soft_wrap=True)
    print_report(settings.storage, study.name, None)
    return EXIT_OK if outcome.is_complete else EXIT_FAILED_TRIALS


def _print_plan(study: StudySpec, settings: RunSettings, options: argparse.Namespace) -> None:
    from raystudy.commands.calibration import cost_lines
    from raystudy.commands.plan_tables import left_out_line, plan_parts, unit_line
    from raystudy.console import plan_table

    plan = make_plan(study.trials(), share=not options.no_share)
    slots, console = slots_here(plan, options.threads), make_console()
    console.print(plan_table(plan, slots, _largest_checkpoint(plan)))
    for part in plan_parts(plan):
        console.print(part)
    for line in filter(None, (unit_line(study), left_out_line(study))):
        console.print(line, soft_wrap=True, highlight=False)
    source = getattr(options, "source", sys.argv[0])
    for line in cost_lines(plan, settings.storage, slots, options.price_per_hour, str(source)):
        console.print(line, soft_wrap=True, highlight=False)


def _within_budget(study: StudySpec, settings: RunSettings, options: argparse.Namespace) -> StudySpec:
    from raystudy.commands.calibration import within_budget

    if options.budget is None:
        return study
    return within_budget(study, settings.storage, options.budget, options.drop, share=not options.no_share)


def _study_of(options: argparse.Namespace, *, check_trials: bool = True) -> StudySpec:
    """The study of a script or of a file, with the flags on top."""
    path: Path = options.source
    if path.suffix in SUFFIXES:
        check_flags_of_file(options)
        return overridden(read_study(path, check_trials=check_trials), options)
    return build_study(load_function(path, "study", "StudySpec"), options)


def _repair_lines(outcome: "Outcome") -> list[str]:
    """What was repaired or dropped of the study's annotations, told once however many trials met it."""
    store, lines = Store.open(outcome.storage), dict[str, None]()
    for segment in outcome.plan.segments:
        result = store.segment(segment.segment_id).result() or {}
        for split, repairs in result.get("repairs", {}).items():
            for kind, count in repairs.items():
                lines[f"{segment.spec.data.name} {split}: {count} {kind}"] = None
    return list(lines)


def slots_here(plan: Plan, threads: int) -> int:
    """Nodes of the plan that this machine runs side by side, at least one, with so many CPU threads a worker."""
    workers = max(trial.workers for trial in plan.trials.values())
    return max(1, len(os.sched_getaffinity(0)) // (workers * threads))


def _largest_checkpoint(plan: Plan) -> int:
    from raystudy.models.size import state_bytes

    models = dict.fromkeys((trial.model, trial.data.num_categories) for trial in plan.trials.values())
    sizes: list[int] = [state_bytes(model, num_categories) for model, num_categories in models]
    return max(sizes)


def _search_crossover(study: StudySpec, settings: RunSettings) -> int:
    from raystudy.crossover import find_crossover

    assert study.crossover_delta is not None
    found = find_crossover(study, settings, study.crossover_delta)
    print_report(settings.storage, study.name, None)
    make_console().print(f"\n{found.sentence}\n", soft_wrap=True, highlight=False)
    return EXIT_OK
