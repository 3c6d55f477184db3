"""`raystudy run` and `raystudy plan`, which experiment scripts call too."""

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raystudy.cluster.settings import RunSettings
from raystudy.commands import EXIT_FAILED_TRIALS, EXIT_INTERRUPTED, EXIT_OK
from raystudy.commands.storage import print_report
from raystudy.console import make_console
from raystudy.errors import SpecError
from raystudy.flags import StudyFunction, add_study_flags, build_settings, build_study
from raystudy.spec.plan import Plan, make_plan
from raystudy.spec.study import StudySpec
from raystudy.store import Store

if TYPE_CHECKING:
    from raystudy.api import Outcome


def add(added: "argparse._SubParsersAction[Any]") -> None:
    """The commands on experiment scripts."""
    for name, text in (("run", "run an experiment script"), ("plan", "print its plan and train nothing")):
        command = added.add_parser(name, help=text, formatter_class=argparse.RawDescriptionHelpFormatter)
        command.add_argument("script", type=Path, help="an experiment script, such as experiments/schedule_length.py")
        add_study_flags(command)
        command.set_defaults(function=run_script, plan_only=name == "plan")


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
    print_report(settings.storage, study.name, None)
    return EXIT_OK if outcome.is_complete else EXIT_FAILED_TRIALS


def run_script(options: argparse.Namespace) -> int:
    return run_study(load_script(options.script), options)


def load_script(path: Path) -> StudyFunction:
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
