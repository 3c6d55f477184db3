"""Commands on a data set: `raystudy inspect`."""

import argparse
from pathlib import Path
from typing import Any

from raystudy.commands import EXIT_FAILED_TRIALS, EXIT_OK
from raystudy.console import make_console


def add(added: "argparse._SubParsersAction[Any]") -> None:
    """The commands on a data set."""
    made = added.add_parser("inspect", help="what a data set holds, what is wrong with it, which defaults fit")
    made.add_argument("data", help="as --data takes it")
    made.add_argument("--thorough", action="store_true", help="decode every picture instead of a sample")
    made.add_argument("--sheet", type=Path, default=Path("inspect.png"), help="annotated pictures (%(default)s)")
    made.set_defaults(function=inspect)


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
