"""The command line: `raystudy COMMAND`, and the flags of every experiment script.

A script is one function that makes a ``StudySpec`` from a ``Preset``. `python experiments/X.py` and
`raystudy run experiments/X.py` take the same flags and do the same thing.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from raystudy.commands import EXIT_INTERRUPTED, EXIT_USER_ERROR, data, doctor, storage, tracking, trial, weights
from raystudy.commands import search as search_commands
from raystudy.commands import study as study_commands
from raystudy.errors import RaystudyError
from raystudy.flags import StudyFunction, add_study_flags

_EXAMPLES = """examples:
  python experiments/schedule_length.py --preset demo
  python experiments/schedule_length.py --preset demo --data path/to/coco --schedules 1,2
  raystudy run experiments/schedule_length.py --preset smoke --workers 2 --norm sync_bn
  raystudy plan experiments/schedule_length.py --preset paper
  raystudy status runs/demo
  raystudy report runs/demo
  raystudy predict tiny-gn-random-f100-6x-s0 --validation 8

exit status: 0 done, 1 trials failed, 2 a mistake in what was asked, 130 interrupted (run it again to resume)"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The `raystudy` command."""
    parser = argparse.ArgumentParser(
        prog="raystudy",
        description="Does pre-training pay for your detector, or does training longer from scratch get there too?",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print version and commit")
    added = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (study_commands, search_commands, data, storage, trial, weights, tracking, doctor):
        group.add(added)
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
    sys.exit(_guarded(lambda given: study_commands.run_script(study, given), options))


class _Version(argparse.Action):
    """Prints and exits; looks for the commit only when it is asked."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from raystudy.api import commit

        parser.exit(message=f"raystudy {version('raystudy')} ({commit()})\n")


def search_experiment(search: search_commands.SearchFunction, arguments: Sequence[str] | None = None) -> None:
    """The command line of a search script: call it with the script's function; exits the process."""
    parser = argparse.ArgumentParser(
        description=sys.modules[search.__module__].__doc__ or search.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    search_commands.add_search_flags(parser)
    options = parser.parse_args(arguments)
    sys.exit(_guarded(lambda given: search_commands.run_search_script(search, given), options))


def _guarded(function: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Users' mistakes are told without a traceback."""
    try:
        return function(options)
    except RaystudyError as error:
        print(f"raystudy: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
