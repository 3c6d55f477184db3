"""What all commands have in common: how they are declared, how they end, and how they answer programs."""

import argparse
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from raystudy.commands import EXIT_INTERRUPTED, EXIT_OK, EXIT_UNEXPECTED, EXIT_USER_ERROR
from raystudy.errors import RaystudyError

Subparsers = argparse._SubParsersAction
Command = Callable[[argparse.Namespace], int]

DEBUG_VARIABLE = "RAYSTUDY_DEBUG"
"""Of the environment: as ``--debug``, unless it is empty or 0."""


def add_command(
    added: "Subparsers[Any]", name: str, text: str, function: Command, examples: str, notes: str = ""
) -> argparse.ArgumentParser:
    """A command with its help.

    Args:
        added: the commands.
        name: of this one.
        text: what it does, in a line.
        function: from parsed flags to the exit status.
        examples: commands, one a line.
        notes: what else people should know, at the end of the help.
    """
    lines = "\n".join(f"  {line.strip()}" for line in examples.strip().splitlines())
    made: argparse.ArgumentParser = added.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"examples:\n{lines}" + (f"\n\n{notes.strip()}" if notes else ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.set_defaults(function=function)
    add_debug_flag(made)
    return made


def add_debug_flag(parser: argparse.ArgumentParser) -> None:
    """The flag that shows where an error comes from."""
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error, whatever it is"
    )


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """The flag of commands that answer programs, too."""
    parser.add_argument("--json", action="store_true", help="print JSON instead (docs/commands.md has its keys)")


def print_json(content: Mapping[str, Any]) -> None:
    """The answer to a program, on standard output; numbers that are not finite become null."""
    print(json.dumps(_finite(content), indent=2, ensure_ascii=False, default=str, allow_nan=False))


def guarded(function: Command, options: argparse.Namespace) -> int:
    """Run a command; mistakes are told without a traceback, unless one is asked for."""
    try:
        return function(options)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever read our output, such as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except Exception as error:
        if _is_debugging(options):
            traceback.print_exc()
        told, status = _told(error)
        print(f"raystudy: {told}", file=sys.stderr)
        return status


def _told(error: Exception) -> tuple[str, int]:
    """What to say of an error, and how to end."""
    if isinstance(error, RaystudyError):
        return str(error), EXIT_USER_ERROR
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}", EXIT_USER_ERROR
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}, line {last.lineno}"
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"unexpected {said} ({where}); give the same command with --debug to see how it came to it", EXIT_UNEXPECTED


def _is_debugging(options: argparse.Namespace) -> bool:
    return bool(getattr(options, "debug", False)) or os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    is_lost = isinstance(value, float) and not math.isfinite(value)
    return None if is_lost else value
