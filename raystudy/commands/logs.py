"""`raystudy logs`: what happened to a trial, and the last lines that its workers logged."""

import argparse
import json
import time
from collections.abc import Mapping
from typing import Any

from raystudy.commands import EXIT_OK
from raystudy.commands.frame import Subparsers, add_command, add_json_flag, print_json
from raystudy.commands.trial import DEFAULT_STORAGE
from raystudy.console import make_console
from raystudy.errors import SpecError
from raystudy.store import Store

_EXAMPLES = """
raystudy logs tiny-gn-random-f100-6x-s0
raystudy logs tiny-gn-random-f100-6x-s0 --storage runs/mine --lines 100
"""

_HIDDEN = ("time", "event", "tail")


def add(added: "Subparsers[Any]") -> None:
    """The command on logs."""
    command = add_command(added, "logs", "what happened to a trial, and its workers' last lines", logs, _EXAMPLES)
    command.add_argument("trial", metavar="TRIAL", help="its id, as `raystudy status` prints it, or a segment's")
    command.add_argument("--storage", default=DEFAULT_STORAGE, help="where the trial lies (default %(default)s)")
    command.add_argument("--lines", type=int, default=20, metavar="N", help="of each worker (default %(default)s)")
    add_json_flag(command)


def logs(options: argparse.Namespace) -> int:
    """Events and last lines of each segment on the trial's path, in the order in which they are trained."""
    from raystudy.cluster.worker_log import last_lines

    store = Store.open(options.storage)
    found: dict[str, dict[str, Any]] = {
        segment_id: {
            "events": store.segment(segment_id).read_log(),
            "workers": last_lines(store, segment_id, options.lines),
        }
        for segment_id in segments_of(store, options.trial)
    }
    if options.json:
        print_json(found)
        return EXIT_OK
    console = make_console()
    for segment_id, told in found.items():
        console.print(f"{segment_id}", style="bold", highlight=False, soft_wrap=True)
        for event in told["events"]:
            console.print(f"  {event_line(event)}", highlight=False, markup=False, soft_wrap=True)
        for rank, lines in told["workers"].items():
            console.print(f"  worker {rank}, its last lines:", highlight=False)
            for line in lines:
                console.print(f"    {line}", highlight=False, markup=False, soft_wrap=True)
        if not told["events"] and not told["workers"]:
            console.print("  nothing yet", highlight=False)
    return EXIT_OK


def segments_of(store: Store, name: str) -> list[str]:
    """The segments that a trial is made of, by the studies of the storage; a segment is itself.

    Raises:
        SpecError: the storage has neither, with the names that begin alike.
    """
    paths: dict[str, list[str]] = {}
    for study in store.study_names():
        for trial_id, path in store.read_study(study).get("paths", {}).items():
            paths[trial_id] = [ref["segment_id"] for ref in path]
    for record in store.trials():
        paths.setdefault(record.trial_id, [ref.segment_id for ref in record.segments])
    known = {*store.segment_ids(), *(segment_id for path in paths.values() for segment_id in path)}
    paths |= {segment_id: [segment_id] for segment_id in known - paths.keys()}
    if name in paths:
        return paths[name]
    alike = [known for known in sorted(paths) if known.startswith(name)]
    if len(alike) == 1:
        return paths[alike[0]]
    raise SpecError(
        f"storage {store.location} has no trial or segment {name!r}; it has {', '.join((alike or sorted(paths))[:12])}"
    )


def event_line(event: Mapping[str, Any]) -> str:
    """One event, with when it was, as a line."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["time"]))
    details = ", ".join(
        f"{name} {_text(value)}" for name, value in event.items() if name not in _HIDDEN and value != ""
    )
    return f"{when} {event['event']}" + (f": {details}" if details else "")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
