"""The command line: `raystudy plan | run | status | report | pretrain`, and the flags of every experiment script.

A script is one function that makes a ``StudySpec`` from a ``Preset``. `python experiments/X.py` and
`raystudy run experiments/X.py` take the same flags and do the same thing.
"""

import argparse
import dataclasses
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from raystudy.cluster.settings import RunSettings
from raystudy.errors import RaystudyError, SpecError
from raystudy.flags import StudyFunction, add_study_flags, build_settings, build_study
from raystudy.spec.presets import load_preset
from raystudy.spec.study import StudySpec

EXIT_OK, EXIT_FAILED_TRIALS, EXIT_USER_ERROR, EXIT_INTERRUPTED = 0, 1, 2, 130

_EXAMPLES = """examples:
  python experiments/schedule_length.py --preset demo
  python experiments/schedule_length.py --preset demo --data path/to/coco --schedules 1,2
  raystudy run experiments/schedule_length.py --preset smoke --workers 2 --norm sync_bn
  raystudy plan experiments/schedule_length.py --preset paper
  raystudy status runs/demo
  raystudy report runs/demo

exit status: 0 done, 1 trials failed, 2 a mistake in what was asked, 130 interrupted (run it again to resume)"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The `raystudy` command."""
    parser = argparse.ArgumentParser(
        prog="raystudy",
        description="Does pre-training pay for your detector, or does training longer from scratch get there too?",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, text in (("run", "run an experiment script"), ("plan", "print its plan and train nothing")):
        command = commands.add_parser(name, help=text, formatter_class=argparse.RawDescriptionHelpFormatter)
        command.add_argument("script", type=Path, help="an experiment script, such as experiments/schedule_length.py")
        add_study_flags(command)
        command.set_defaults(function=_run_script, plan_only=name == "plan")
    status = commands.add_parser("status", help="how far the trials of a storage are")
    status.add_argument("storage")
    status.add_argument("--study", help="one study; all of them when not given")
    status.set_defaults(function=_status)
    report = commands.add_parser("report", help="write the breakdown of a storage's studies")
    report.add_argument("storage")
    report.add_argument("--study", help="one study; all of them when not given")
    report.add_argument("--output", type=Path, help="folder for the report; STORAGE/reports/STUDY when not given")
    report.set_defaults(function=_report)
    gc = commands.add_parser("gc", help="free what no study of a storage needs")
    gc.add_argument("storage")
    gc.add_argument("--dry-run", action="store_true", help="say what would be deleted, and delete nothing")
    gc.set_defaults(function=_gc)
    pretrain = commands.add_parser("pretrain", help="make the weights that pretrained trials start from")
    pretrain.add_argument("--preset", default="demo", help="smoke or demo: the recipe (default %(default)s)")
    pretrain.add_argument("--backbone", help="the preset's when not given")
    pretrain.add_argument("--norm", default="gn", help="gn, bn or none (default %(default)s)")
    pretrain.add_argument("--storage", help="where the weights go (default runs/PRESET)")
    pretrain.set_defaults(function=_pretrain)
    options = parser.parse_args(arguments)
    return _guarded(options.function, options)


def experiment(study: StudyFunction, arguments: Sequence[str] | None = None) -> None:
    """The command line of an experiment script: call it with the script's function; exits the process."""
    parser = argparse.ArgumentParser(
        description=sys.modules[study.__module__].__doc__ or study.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_study_flags(parser)
    options = parser.parse_args(arguments)
    options.plan_only = options.plan
    sys.exit(_guarded(lambda given: run_study(study, given), options))


def run_study(function: StudyFunction, options: argparse.Namespace) -> int:
    """Plan, run and report a study; the exit status."""
    from raystudy.console import make_console, plan_table, trials_table
    from raystudy.spec.plan import make_plan

    console = make_console()
    study = build_study(function, options)
    plan = make_plan(study.trials(), share=not options.no_share)
    console.print(plan_table(plan))
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
    _print_report(settings.storage, study.name, None)
    return EXIT_OK if outcome.is_complete else EXIT_FAILED_TRIALS


def _search_crossover(study: StudySpec, settings: RunSettings) -> int:
    from raystudy.console import make_console
    from raystudy.crossover import find_crossover

    assert study.crossover_delta is not None
    found = find_crossover(study, settings, study.crossover_delta)
    make_console().print(f"\n{found.sentence}\n", soft_wrap=True, highlight=False)
    return EXIT_OK


def _run_script(options: argparse.Namespace) -> int:
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


def _status(options: argparse.Namespace) -> int:
    from raystudy.cluster.ledger import read_trial
    from raystudy.console import make_console, trials_table
    from raystudy.spec.plan import stored_plan
    from raystudy.store import Store

    store, console = Store.open(options.storage), make_console()
    for name in [options.study] if options.study else store.study_names():
        plan = stored_plan(store.read_study(name))
        console.print(f"[bold]{name}[/bold]")
        console.print(trials_table(read_trial(store, plan, trial_id) for trial_id in plan.trials))
    return EXIT_OK


def _report(options: argparse.Namespace) -> int:
    from raystudy.store import Store

    for name in [options.study] if options.study else Store.open(options.storage).study_names():
        _print_report(options.storage, name, options.output)
    return EXIT_OK


def _gc(options: argparse.Namespace) -> int:
    from raystudy.cluster.garbage import collect_garbage
    from raystudy.console import make_console
    from raystudy.store import Store

    found = collect_garbage(Store.open(options.storage), dry_run=options.dry_run)
    verb = "would free" if options.dry_run else "freed"
    listed = "".join(f"\n  {name}" for name in found.segments)
    make_console().print(f"{verb} {found.freed_bytes / 2**20:.1f} MiB; segments of no study: {listed or 'none'}")
    return EXIT_OK


def _print_report(storage: str, study: str, output: Path | None) -> None:
    from analysis.report import write_report
    from raystudy.console import make_console, text_table

    console = make_console()
    report = write_report(storage, study, output)
    console.print(text_table(report.table))
    for note in report.notes:
        console.print(note, soft_wrap=True, style="dim")
    console.print(f"\n{report.sentence}\n", soft_wrap=True, highlight=False)
    console.print(f"Report: {report.path}", soft_wrap=True, highlight=False)


def _pretrain(options: argparse.Namespace) -> int:
    from raystudy.cluster.weights import make_weights
    from raystudy.console import make_console
    from raystudy.store import Store

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


def _guarded(function: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Users' mistakes are told without a traceback."""
    try:
        return function(options)
    except RaystudyError as error:
        print(f"raystudy: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
