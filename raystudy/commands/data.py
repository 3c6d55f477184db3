"""Commands on a data set: `raystudy inspect`."""

import argparse
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raystudy.commands import EXIT_FAILED_TRIALS, EXIT_OK
from raystudy.commands.frame import Subparsers, add_command, add_json_flag, print_json
from raystudy.console import make_console
from raystudy.data_flags import add_pair_flags, named_data, names_data
from raystudy.errors import SpecError

if TYPE_CHECKING:
    from raystudy.data.inspection import Inspection


_EXAMPLES = """
raystudy inspect path/to/coco
raystudy inspect path/to/yolo --thorough --sheet pictures.png
raystudy inspect --train path/to/images train.json --val path/to/images val.json
"""


def add(added: "Subparsers[Any]") -> None:
    """The commands on a data set."""
    text = "say what a data set holds, what is wrong with it, and which defaults fit"
    notes = "Next: `python experiments/my_data.py --preset demo --plan` with the same --data."
    made = add_command(added, "inspect", text, inspect, _EXAMPLES, notes)
    made.add_argument("data", nargs="?", help="as --data takes it; or --train and --val")
    add_pair_flags(made)
    made.add_argument("--thorough", action="store_true", help="decode every picture instead of a sample")
    made.add_argument("--sheet", type=Path, default=Path("inspect.png"), help="annotated pictures (%(default)s)")
    add_json_flag(made)


def inspect(options: argparse.Namespace) -> int:
    """Say what a data set holds, what is wrong with it, and what the defaults would be."""
    from raystudy.data.inspection import inspect_named

    if not names_data(options):
        raise SpecError("name what to inspect: a folder with both splits, or --train IMAGES JSON and --val IMAGES JSON")
    source = options.data or " and ".join(pair[1] for pair in (options.train, options.val) if pair)
    found = inspect_named(functools.partial(named_data, options), source, thorough=options.thorough)
    status = EXIT_FAILED_TRIALS if found.problems else EXIT_OK
    if options.json:
        print_json(_as_json(found))
        return status
    console = make_console()
    console.print(found.text(), soft_wrap=True, highlight=False, markup=False)
    if found.data is not None:
        found.write_sheet(options.sheet)
        console.print(f"Annotated pictures: {options.sheet}", soft_wrap=True, highlight=False)
    return status


def _as_json(found: "Inspection") -> dict[str, Any]:
    splits = {
        split: {
            **report.statistics,
            "crowds": report.crowds,
            "difficult": report.difficult,
            "objects": dict(zip(("small", "medium", "large"), report.objects, strict=True)),
        }
        for split, report in found.splits.items()
    }
    return {
        "source": found.source,
        "name": found.data.name if found.data else None,
        "format": found.data.format if found.data else None,
        "categories": [name for _, name in found.categories],
        "has_masks": found.has_masks,
        "num_keypoints": found.num_keypoints,
        "splits": splits,
        "problems": found.problems,
        "warnings": found.warnings,
        "unit": found.unit,
        "batch": found.batch,
    }
