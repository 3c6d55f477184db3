"""The command line: `raystudy COMMAND`, and the flags of every experiment script.

A script is one function that makes a ``StudySpec`` from a ``Preset``. `python experiments/X.py` and
`raystudy run experiments/X.py` take the same flags and do the same thing.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from raystudy.commands import completion, data, doctor, logs, storage, tracking, trial, weights
from raystudy.commands import search as search_commands
from raystudy.commands import study as study_commands
from raystudy.commands.frame import Command, add_debug_flag, guarded
from raystudy.flags import StudyFunction, add_study_flags

_EXAMPLES = """examples:
  python experiments/schedule_length.py --preset demo
  python experiments/schedule_length.py --preset demo --data path/to/coco --schedules 1,2
  raystudy run experiments/schedule_length.py --preset smoke --workers 2 --norm sync_bn
  raystudy plan experiments/schedule_length.py --preset paper
  raystudy status runs/demo
  raystudy report runs/demo
  raystudy predict tiny-gn-random-f100-6x-s0 --validation 8

`raystudy COMMAND --help` has examples of each. New here? `raystudy doctor`, then `raystudy inspect` on your data.

exit status: 0 done; 1 done, but trials failed or a check found problems; 2 a mistake in what was asked, nothing was
started; 3 an unexpected error; 130 interrupted (give it again to go on). --debug or RAYSTUDY_DEBUG=1 shows tracebacks,
NO_COLOR=1 leaves colours out."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The `raystudy` command."""
    options = make_parser().parse_args(arguments)
    return guarded(options.function, options)


def make_parser() -> argparse.ArgumentParser:
    """The `raystudy` command with all of its commands."""
    parser = argparse.ArgumentParser(
        prog="raystudy",
        description="Does pre-training pay for your detector, or does training longer from scratch get there too?",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print version and commit")
    add_debug_flag(parser)
    added = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (study_commands, search_commands, data, storage, logs, trial, weights, tracking, doctor, completion):
        group.add(added)
    return parser


def experiment(study: StudyFunction, arguments: Sequence[str] | None = None) -> None:
    """The command line of an experiment script: call it with the script's function; exits the process."""
    parser = _script_parser(study)
    add_study_flags(parser)
    _run_script(parser, lambda options: study_commands.run_script(study, options), arguments)


def search_experiment(search: search_commands.SearchFunction, arguments: Sequence[str] | None = None) -> None:
    """The command line of a search script: call it with the script's function; exits the process."""
    parser = _script_parser(search)
    search_commands.add_search_flags(parser)
    _run_script(parser, lambda options: search_commands.run_search_script(search, options), arguments)


def _script_parser(function: StudyFunction | search_commands.SearchFunction) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=sys.modules[function.__module__].__doc__ or function.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_debug_flag(parser)
    return parser


def _run_script(parser: argparse.ArgumentParser, function: Command, arguments: Sequence[str] | None) -> None:
    sys.exit(guarded(function, parser.parse_args(arguments)))


class _Version(argparse.Action):
    """Prints and exits; looks for the commit only when it is asked."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from raystudy.api import commit

        print(f"raystudy {version('raystudy')} ({commit()})")
        parser.exit()
