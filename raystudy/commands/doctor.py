"""`raystudy doctor`: what may go wrong here, and how to mend it."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from raystudy.commands import EXIT_FAILED_TRIALS, EXIT_OK
from raystudy.commands.frame import Subparsers, add_command, add_json_flag, print_json
from raystudy.console import make_console

_MARKS = {"ok": Text("ok", style="green"), "warning": Text("look", style="yellow"), "problem": Text("no", style="red")}


_EXAMPLES = """
raystudy doctor
raystudy doctor cluster.yaml
raystudy doctor --storage /shared/study --data path/to/coco
"""


def add(added: "Subparsers[Any]") -> None:
    """The command on this machine and on cluster files."""
    text = "check this machine, or a cluster file before anybody pays for it"
    made = add_command(added, "doctor", text, doctor, _EXAMPLES, "Each problem comes with its mend.")
    made.add_argument("cluster", nargs="?", type=Path, help="a launcher's file such as cluster.yaml")
    made.add_argument("--storage", type=Path, default=Path("runs"), help="where studies would be (default %(default)s)")
    made.add_argument("--data", help="a data set that you mean to train on; `raystudy inspect` says more")
    add_json_flag(made)


def doctor(options: argparse.Namespace) -> int:
    """Print every check; 1 when one of them is a problem."""
    from raystudy.cluster.doctor import Check, check_cluster_file, check_machine

    checks = list(check_machine(options.storage.absolute()))
    if options.cluster is not None:
        checks += check_cluster_file(options.cluster)
    if options.data is not None:
        from raystudy.data.inspection import inspect

        found = inspect(options.data, thorough=False)
        problems = "; ".join(found.problems)
        mend = f"raystudy inspect {options.data}" if problems else ""
        checks.append(Check(name="data", state="problem" if problems else "ok", found=problems or "sound", mend=mend))
    bad = sum(check.state == "problem" for check in checks)
    status = EXIT_FAILED_TRIALS if bad else EXIT_OK
    if options.json:
        print_json({"problems": bad, "checks": [dataclasses.asdict(check) for check in checks]})
        return status
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    for check in checks:
        table.add_row(_MARKS[check.state], check.name, check.found + (f"\n→ {check.mend}" if check.mend else ""))
    console = make_console()
    console.print(table)
    console.print(f"\n{bad} problems" if bad else "\nNo problem found.", highlight=False)
    return status
