"""The command line: `raystudy plan | run | status | report | pretrain`, and the flags of every experiment script.

A script is one function that makes a ``StudySpec`` from a ``Preset``. `python experiments/X.py` and
`raystudy run experiments/X.py` take the same flags and do the same thing.
"""

import argparse
import dataclasses
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from raystudy.errors import RaystudyError, SpecError
from raystudy.spec.presets import Preset, init_axis, load_preset, norm_axis
from raystudy.spec.study import StudySpec

if TYPE_CHECKING:
    from raystudy.cluster.tracking import TrackingSettings

StudyFunction = Callable[[Preset], StudySpec]

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


def add_study_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that every experiment takes."""
    what = parser.add_argument_group("what to train")
    what.add_argument("--preset", default="demo", help="smoke, demo or paper (default %(default)s)")
    what.add_argument("--data", help="a folder in COCO format; the embedded shapes when not given")
    what.add_argument("--schedules", type=_floats, help="multiples of the unit, such as 1,2,4")
    what.add_argument("--unit", type=int, help="iterations of 1x; the preset's when not given")
    what.add_argument("--seeds", type=_seeds, help="a number of seeds, or a list such as 0,3,")
    what.add_argument("--inits", type=_words, help="random, pretrained or both (default)")
    what.add_argument("--norm", type=_words, help="gn, sync_bn, bn, frozen_bn or none, or several: gn,bn")
    what.add_argument("--weights", type=Path, help="a weights file for pretrained trials")
    what.add_argument("--workers", type=int, help="workers of a trial; the global batch stays")
    what.add_argument("--precision", help="fp32 or bf16")
    how = parser.add_argument_group("how to run it")
    how.add_argument("--storage", help="where rows, checkpoints and report live (default runs/PRESET)")
    how.add_argument("--plan", action="store_true", help="print the plan and train nothing")
    how.add_argument("--no-share", action="store_true", help="train every trial alone instead of sharing trunks")
    how.add_argument("--threads", type=int, default=1, help="CPU threads of a worker (default %(default)s)")
    how.add_argument("--device", choices=("cpu", "cuda"), help="cuda where this machine has a GPU, else cpu")
    how.add_argument("--loader-processes", type=int, help="processes that prepare a worker's batches")
    how.add_argument("--wandb", metavar="PROJECT[/ENTITY]", help="log every trial to Weights & Biases")
    how.add_argument("--wandb-offline", action="store_true", help="keep W&B runs on disk, to sync later")


def build_study(function: StudyFunction, options: argparse.Namespace) -> StudySpec:
    """The script's study with the command line's overrides.

    Raises:
        RaystudyError: what was asked cannot be; all problems at once.
    """
    from raystudy.api import with_workers

    preset = load_preset(options.preset)
    if options.unit is not None:
        preset = dataclasses.replace(preset, unit=options.unit)
    if options.data is not None:
        preset = _on_data(preset, options.data)
    study = function(preset)
    axes = [preset.schedule_axis(options.schedules)] if options.schedules else []
    axes += [preset.seed_axis(options.seeds)] if options.seeds else []
    axes += [init_axis(options.inits)] if options.inits else []
    axes += [norm_axis(options.norm)] if options.norm else []
    for axis in axes:
        study = study.with_axis(axis)
    if options.precision:
        study = dataclasses.replace(study, base=dataclasses.replace(study.base, precision=options.precision))
    if options.workers is not None:
        study = with_workers(study, options.workers)
    if options.weights is not None:
        study = _with_weights(study, options.weights)
    return dataclasses.replace(study, preset=preset.name, unit=preset.unit, pretraining=preset.pretraining)


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
    from raystudy.api import default_device, run
    from raystudy.cluster.settings import RunSettings

    storage = str(Path(options.storage or f"runs/{options.preset}").expanduser().absolute())
    settings = RunSettings(
        storage=storage,
        study=study.name,
        threads=options.threads,
        device=options.device or default_device(),
        loader_processes=options.loader_processes if options.loader_processes is not None else _loaders(options),
        tracking=_tracking(options, storage),
    )
    try:
        outcome = run(study, settings, share=not options.no_share)
    except KeyboardInterrupt:
        console.print("Stopped; nothing that was committed is lost. Give the same command again to go on.")
        return EXIT_INTERRUPTED
    console.print(trials_table(outcome.records.values()))
    for record in outcome.records.values():
        if record.error:
            console.print(f"{record.trial_id} {record.state.value}: {record.error}", soft_wrap=True)
    _print_report(storage, study.name, None)
    return EXIT_OK if outcome.is_complete else EXIT_FAILED_TRIALS


def _tracking(options: argparse.Namespace, storage: str) -> "TrackingSettings | None":
    from raystudy.cluster.tracking import TrackingSettings

    if options.wandb is None:
        if options.wandb_offline:
            raise SpecError("--wandb-offline needs a project: add --wandb PROJECT")
        return None
    return TrackingSettings.parse(options.wandb, offline=options.wandb_offline, folder=f"{storage}/wandb")


def _loaders(options: argparse.Namespace) -> int:
    """Small pictures live in memory and need no process; COCO's are decoded by four a worker."""
    return 4 if options.preset == "paper" else 0


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


def _on_data(preset: Preset, source: str) -> Preset:
    """The preset on a user's data; the recipe of ``paper`` stays, smaller presets take what the data asks for."""
    from raystudy.data.resolve import data_defaults, resolve_data

    data = resolve_data(source)
    base = dataclasses.replace(preset.base, data=data)
    if preset.name != "paper":
        base = data_defaults(data).applied_to(base)
    return dataclasses.replace(preset, base=base)


def _with_weights(study: StudySpec, path: Path) -> StudySpec:
    if not path.is_file():
        raise SpecError(f"the weights file {path} does not exist; check --weights")
    weights_id = f"{path.stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
    axes = []
    for axis in study.axes:
        levels = tuple(
            dataclasses.replace(
                level,
                overrides={**level.overrides, "init.weights_id": weights_id, "init.weights_file": str(path.absolute())},
            )
            if level.overrides.get("init.kind") == "pretrained"
            else level
            for level in axis.levels
        )
        axes.append(dataclasses.replace(axis, levels=levels))
    return dataclasses.replace(study, axes=tuple(axes))


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


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _floats(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in _words(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 1,2,4") from error


def _seeds(text: str) -> tuple[int, ...]:
    try:
        numbers = [int(word) for word in _words(text)]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of seeds nor a list such as 0,3") from error
    return tuple(numbers) if "," in text else tuple(range(numbers[0]))
