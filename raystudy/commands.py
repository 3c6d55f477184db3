"""What each command of `raystudy` does, from parsed flags to an exit status."""

import argparse
import dataclasses
import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from raystudy.cluster.settings import RunSettings
from raystudy.console import make_console
from raystudy.errors import SpecError
from raystudy.flags import StudyFunction, build_settings, build_study
from raystudy.spec.plan import Plan, make_plan
from raystudy.spec.presets import load_preset
from raystudy.spec.study import StudySpec
from raystudy.store import Store

EXIT_OK, EXIT_FAILED_TRIALS, EXIT_USER_ERROR, EXIT_INTERRUPTED = 0, 1, 2, 130

if TYPE_CHECKING:
    from raystudy.api import Outcome

LIVE_INTERVAL_S = 15
"""Between two reports of `raystudy report --live`."""


def run_study(function: StudyFunction, options: argparse.Namespace) -> int:
    """Plan, run and report a study; the exit status."""
    from raystudy.console import plan_table, trials_table

    console = make_console()
    study = build_study(function, options)
    plan = make_plan(study.trials(), share=not options.no_share)
    console.print(plan_table(plan, _slots_here(plan, options), _largest_checkpoint(plan)))
    if options.plan_only or options.plan:
        return EXIT_OK
    from raystudy.api import run

    settings = build_settings(study, options)
    try:
        if study.crossover_delta is not None:
            return _search_crossover(study, settings)
        outcome = run(study, settings, share=not options.no_share)
    except KeyboardInterrupt:
        console.print("Stopped; nothing that was committed is lost. Give the same command again to go on.")
        return EXIT_INTERRUPTED
    console.print(trials_table(outcome.records.values()))
    for record in outcome.records.values():
        if record.error:
            console.print(f"{record.trial_id} {record.state.value}: {record.error}", soft_wrap=True)
    for line in _repair_lines(outcome):
        console.print(line, soft_wrap=True)
    _print_report(settings.storage, study.name, None)
    return EXIT_OK if outcome.is_complete else EXIT_FAILED_TRIALS


def _repair_lines(outcome: "Outcome") -> list[str]:
    """What was repaired or dropped of the study's annotations, told once however many trials met it."""
    store, lines = Store.open(outcome.storage), dict[str, None]()
    for segment in outcome.plan.segments:
        result = store.segment(segment.segment_id).result() or {}
        for split, repairs in result.get("repairs", {}).items():
            for kind, count in repairs.items():
                lines[f"{segment.spec.data.name} {split}: {count} {kind}"] = None
    return list(lines)


def _slots_here(plan: Plan, options: argparse.Namespace) -> int:
    """Nodes of the plan that this machine runs side by side, at least one."""
    workers = max(trial.workers for trial in plan.trials.values())
    threads: int = options.threads
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
    make_console().print(f"\n{found.sentence}\n", soft_wrap=True, highlight=False)
    return EXIT_OK


def run_script(options: argparse.Namespace) -> int:
    return run_study(_load_script(options.script), options)


def _load_script(path: Path) -> StudyFunction:
    if not path.is_file():
        raise SpecError(f"there is no script {path}; see experiments/README.md for those that there are")
    specification = importlib.util.spec_from_file_location(path.stem, path)
    if specification is None or specification.loader is None:
        raise SpecError(f"{path} is no Python file; give an experiment script such as experiments/schedule_length.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = module
    specification.loader.exec_module(module)
    if not callable(getattr(module, "study", None)):
        raise SpecError(f"{path} has no function `study(preset)` that returns a StudySpec")
    function: StudyFunction = module.study
    return function


def status(options: argparse.Namespace) -> int:
    from raystudy.cluster.ledger import read_trial
    from raystudy.console import trials_table
    from raystudy.spec.plan import stored_plan

    store, console = Store.open(options.storage), make_console()
    for name in _studies(options):
        plan = stored_plan(store.read_study(name))
        console.print(f"[bold]{name}[/bold]")
        console.print(trials_table(read_trial(store, plan, trial_id) for trial_id in plan.trials))
    return EXIT_OK


def report(options: argparse.Namespace) -> int:
    """Write the report; with ``--live`` again and again until the study is done or Ctrl-C."""
    names = _studies(options)
    while options.live:
        for name in names:
            _write_report(options, name)
        make_console().print(f"written at {time.strftime('%H:%M:%S')}; Ctrl-C ends", style="dim")
        time.sleep(LIVE_INTERVAL_S)
    for name in names:
        _print_report(options.storage, name, options.output, options.price_per_hour)
    return EXIT_OK


def _write_report(options: argparse.Namespace, study: str) -> None:
    from analysis.report import write_report

    written = write_report(options.storage, study, options.output, live=True, price_per_hour=options.price_per_hour)
    make_console().print(f"Report: {written.path}", soft_wrap=True, highlight=False)


def compare(options: argparse.Namespace) -> int:
    """Put two studies side by side."""
    from analysis.compare import write_comparison
    from raystudy.console import text_table

    sides = [(storage, study or _only_study(storage)) for storage, study in map(_named_study, options.studies)]
    found = write_comparison(*sides[0], *sides[1], options.output)
    console = make_console()
    console.print(text_table(found.table))
    console.print(f"\n{found.sentence}\n\nReport: {found.path}", soft_wrap=True, highlight=False)
    return EXIT_OK


def inspect(options: argparse.Namespace) -> int:
    """Say what a data set holds, what is wrong with it, and what the defaults would be."""
    from raystudy.data.inspection import inspect as inspect_data

    found = inspect_data(options.data, thorough=options.thorough)
    console = make_console()
    console.print(found.text(), soft_wrap=True, highlight=False, markup=False)
    if found.data is not None:
        found.write_sheet(options.sheet)
        console.print(f"Annotated pictures: {options.sheet}", soft_wrap=True, highlight=False)
    return EXIT_FAILED_TRIALS if found.problems else EXIT_OK


def wandb_sync(options: argparse.Namespace) -> int:
    """Bring to Weights & Biases what it has not got, each point once."""
    from raystudy.cluster.tracking import TrackingSettings
    from raystudy.cluster.tracking_sync import sync_study

    store, settings = Store.open(options.storage), TrackingSettings.parse(options.project)
    for name in _studies(options):
        for run_id, points in sync_study(store, name, settings):
            make_console().print(f"{run_id}: {points} new points", highlight=False)
    return EXIT_OK


def wandb_view(options: argparse.Namespace) -> int:
    """Create the study's workspace in Weights & Biases, or bring it up to date."""
    from raystudy.cluster.tracking import TrackingSettings
    from raystudy.cluster.tracking_view import save_view

    settings = TrackingSettings.parse(options.project)
    if not settings.entity:
        raise SpecError(f"a workspace belongs to somebody: give --project {settings.project}/ENTITY")
    for name in _studies(options):
        address = save_view(Store.open(options.storage), name, settings.entity, settings.project)
        make_console().print(f"{name}: {address}", soft_wrap=True, highlight=False)
    return EXIT_OK


def _studies(options: argparse.Namespace) -> list[str]:
    return [options.study] if options.study else Store.open(options.storage).study_names()


def _named_study(text: str) -> tuple[str, str]:
    """``STORAGE`` or ``STORAGE:STUDY``."""
    storage, _, study = text.rpartition(":") if ":" in text and "/" not in text.rsplit(":", 1)[1] else (text, "", "")
    return storage, study


def _only_study(storage: str) -> str:
    names = Store.open(storage).study_names()
    if len(names) != 1:
        raise SpecError(f"storage {storage} has the studies {', '.join(names) or 'none'}; say which: {storage}:STUDY")
    return names[0]


def gc(options: argparse.Namespace) -> int:
    from raystudy.cluster.garbage import collect_garbage

    found = collect_garbage(Store.open(options.storage), dry_run=options.dry_run)
    verb = "would free" if options.dry_run else "freed"
    listed = "".join(f"\n  {name}" for name in found.segments)
    make_console().print(f"{verb} {found.freed_bytes / 2**20:.1f} MiB; segments of no study: {listed or 'none'}")
    return EXIT_OK


def _print_report(storage: str, study: str, output: Path | None, price_per_hour: float | None = None) -> None:
    from analysis.report import write_report
    from raystudy.console import text_table

    console = make_console()
    written = write_report(storage, study, output, price_per_hour=price_per_hour)
    console.print(text_table(written.table))
    for note in written.notes:
        console.print(note, soft_wrap=True, style="dim")
    console.print(f"\n{written.sentence}\n", soft_wrap=True, highlight=False)
    console.print(f"Report: {written.path}", soft_wrap=True, highlight=False)


def pretrain(options: argparse.Namespace) -> int:
    from raystudy.cluster.weights import make_weights

    preset = load_preset(options.preset)
    if preset.pretraining is None:
        raise SpecError(f"preset {preset.name} has no pre-training recipe; give trials a file with --weights FILE")
    recipe = dataclasses.replace(
        preset.pretraining,
        backbone=options.backbone or preset.base.model.backbone,
        norm=options.norm,
        norm_groups=preset.base.model.norm_groups,
        norm_group_channels=preset.base.model.norm_group_channels,
    )
    store = Store.open(Path(options.storage or f"runs/{options.preset}").expanduser(), create=True)
    folder = make_weights(store, recipe)
    make_console().print(f"Weights: {folder}", soft_wrap=True, highlight=False)
    return EXIT_OK
