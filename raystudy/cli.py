"""The command line: `raystudy COMMAND`, and the flags of every experiment script.

A script is one function that makes a ``StudySpec`` from a ``Preset``. `python experiments/X.py` and
`raystudy run experiments/X.py` take the same flags and do the same thing.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from raystudy import commands
from raystudy.errors import RaystudyError
from raystudy.flags import StudyFunction, add_study_flags

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
    added = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_study_commands(added)
    _add_storage_commands(added)
    pretrain = added.add_parser("pretrain", help="make the weights that pretrained trials start from")
    pretrain.add_argument("--preset", default="demo", help="smoke or demo: the recipe (default %(default)s)")
    pretrain.add_argument("--backbone", help="the preset's when not given")
    pretrain.add_argument("--norm", default="gn", help="gn, bn or none (default %(default)s)")
    pretrain.add_argument("--storage", help="where the weights go (default runs/PRESET)")
    pretrain.set_defaults(function=commands.pretrain)
    options = parser.parse_args(arguments)
    return _guarded(options.function, options)


def _add_study_commands(added: "argparse._SubParsersAction[Any]") -> None:
    for name, text in (("run", "run an experiment script"), ("plan", "print its plan and train nothing")):
        command = added.add_parser(name, help=text, formatter_class=argparse.RawDescriptionHelpFormatter)
        command.add_argument("script", type=Path, help="an experiment script, such as experiments/schedule_length.py")
        add_study_flags(command)
        command.set_defaults(function=commands.run_script, plan_only=name == "plan")
    inspect = added.add_parser("inspect", help="what a data set holds, what is wrong with it, which defaults fit")
    inspect.add_argument("data", help="as --data takes it")
    inspect.add_argument("--thorough", action="store_true", help="decode every picture instead of a sample")
    inspect.add_argument("--sheet", type=Path, default=Path("inspect.png"), help="annotated pictures (%(default)s)")
    inspect.set_defaults(function=commands.inspect)


def _add_storage_commands(added: "argparse._SubParsersAction[Any]") -> None:
    def command(name: str, text: str, function: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = added.add_parser(name, help=text)
        made.add_argument("storage")
        made.add_argument("--study", help="one study; all of them when not given")
        made.set_defaults(function=function)
        return made

    command("status", "how far the trials of a storage are", commands.status)
    report = command("report", "write the breakdown of a storage's studies", commands.report)
    report.add_argument("--output", type=Path, help="folder for the report; STORAGE/reports/STUDY when not given")
    report.add_argument("--live", action="store_true", help="write it again and again while the study runs")
    report.add_argument("--price-per-hour", type=float, help="of one device, to show money beside device time")
    compare = added.add_parser("compare", help="put two studies side by side")
    compare.add_argument("studies", nargs=2, metavar="STORAGE[:STUDY]")
    compare.add_argument("--output", type=Path, default=Path("comparison"), help="folder (default %(default)s)")
    compare.set_defaults(function=commands.compare)
    sync = command("wandb-sync", "send Weights & Biases what it has not got", commands.wandb_sync)
    view = command("wandb-view", "make or update the study's workspace in Weights & Biases", commands.wandb_view)
    for made in (sync, view):
        made.add_argument("--project", required=True, metavar="PROJECT[/ENTITY]")
    gc = command("gc", "free what no study of a storage needs", commands.gc)
    gc.add_argument("--dry-run", action="store_true", help="say what would be deleted, and delete nothing")


def experiment(study: StudyFunction, arguments: Sequence[str] | None = None) -> None:
    """The command line of an experiment script: call it with the script's function; exits the process."""
    parser = argparse.ArgumentParser(
        description=sys.modules[study.__module__].__doc__ or study.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_study_flags(parser)
    options = parser.parse_args(arguments)
    options.plan_only = options.plan
    sys.exit(_guarded(lambda given: commands.run_study(study, given), options))


def _guarded(function: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Users' mistakes are told without a traceback."""
    try:
        return function(options)
    except RaystudyError as error:
        print(f"raystudy: {error}", file=sys.stderr)
        return commands.EXIT_USER_ERROR
    except KeyboardInterrupt:
        return commands.EXIT_INTERRUPTED
