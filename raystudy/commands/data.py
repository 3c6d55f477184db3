"""Commands on a data set: `raystudy inspect`."""

import argparse
import functools
from pathlib import Path
from typing import Any

from raystudy.commands import EXIT_FAILED_TRIALS, EXIT_OK
from raystudy.console import make_console
from raystudy.data_flags import add_pair_flags, named_data, names_data
from raystudy.errors import SpecError


def add(added: "argparse._SubParsersAction[Any]") -> None:
    """The commands on a data set."""
    made = added.add_parser("inspect", help="what a data set holds, what is wrong with it, which defaults fit")
    made.add_argument("data", nargs="?", help="as --data takes it; or --train and --val")
    add_pair_flags(made)
    made.add_argument("--thorough", action="store_true", help="decode every picture instead of a sample")
    made.add_argument("--sheet", type=Path, default=Path("inspect.png"), help="annotated pictures (%(default)s)")
    made.set_defaults(function=inspect)


def inspect(options: argparse.Namespace) -> int:
    """Say what a data set holds, what is wrong with it, and what the defaults would be."""
    from raystudy.data.inspection import inspect_named

    if not names_data(options):
        raise SpecError("name what to inspect: a folder with both splits, or --train IMAGES JSON and --val IMAGES JSON")
    source = options.data or " and ".join(pair[1] for pair in (options.train, options.val) if pair)
    found = inspect_named(functools.partial(named_data, options), source, thorough=options.thorough)
    console = make_console()
    console.print(found.text(), soft_wrap=True, highlight=False, markup=False)
    if found.data is not None:
        found.write_sheet(options.sheet)
        console.print(f"Annotated pictures: {options.sheet}", soft_wrap=True, highlight=False)
    return EXIT_FAILED_TRIALS if found.problems else EXIT_OK
