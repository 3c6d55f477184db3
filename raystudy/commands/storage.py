"""Commands on a storage: `raystudy status`, `report`, `compare` and `gc`."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raystudy.commands import EXIT_OK
from raystudy.console import make_console
from raystudy.errors import SpecError, StorageError
from raystudy.store import Store

LIVE_INTERVAL_S = 15
"""Between two reports of `raystudy report --live`."""


def add(added: "argparse._SubParsersAction[Any]") -> None:
    """The commands on a storage."""
    add_storage_command(added, "status", "how far the trials of a storage are", status)
    made = add_storage_command(added, "report", "write the breakdown of a storage's studies", report)
    made.add_argument("--output", type=Path, help="folder for the report; STORAGE/reports/STUDY when not given")
    made.add_argument("--live", action="store_true", help="write it again and again while the study runs")
    made.add_argument("--price-per-hour", type=float, help="of one device, to show money beside device time")
    made = added.add_parser("compare", help="put two studies side by side")
    made.add_argument("studies", nargs=2, metavar="STORAGE[:STUDY]")
    made.add_argument("--output", type=Path, default=Path("comparison"), help="folder (default %(default)s)")
    made.set_defaults(function=compare)
    made = add_storage_command(added, "gc", "free what no study of a storage needs", gc)
    made.add_argument("--dry-run", action="store_true", help="say what would be deleted, and delete nothing")


def add_storage_command(
    added: "argparse._SubParsersAction[Any]", name: str, text: str, function: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """A command that takes a storage and, when it is to be one only, a study."""
    made: argparse.ArgumentParser = added.add_parser(name, help=text)
    made.add_argument("storage")
    made.add_argument("--study", help="one study; all of them when not given")
    made.set_defaults(function=function)
    return made


def status(options: argparse.Namespace) -> int:
    from raystudy.cluster.ledger import read_trial
    from raystudy.console import trials_table
    from raystudy.spec.plan import stored_plan

    store, console = Store.open(options.storage), make_console()
    for name in studies(options):
        plan = stored_plan(store.read_study(name))
        console.print(f"[bold]{name}[/bold]")
        console.print(trials_table(read_trial(store, plan, trial_id) for trial_id in plan.trials))
    for name in searches(options):
        _print_search(options.storage, name)
    return EXIT_OK


def report(options: argparse.Namespace) -> int:
    """Write the report; with ``--live`` again and again until the study is done or Ctrl-C."""
    names = studies(options)
    while options.live:
        for name in names:
            _write_report(options, name)
        make_console().print(f"written at {time.strftime('%H:%M:%S')}; Ctrl-C ends", style="dim")
        time.sleep(LIVE_INTERVAL_S)
    for name in names:
        print_report(options.storage, name, options.output, options.price_per_hour)
    for name in searches(options):
        print_search_report(options.storage, name, options.output)
    return EXIT_OK


def compare(options: argparse.Namespace) -> int:
    """Put two studies side by side."""
    from analysis.compare import write_comparison
    from raystudy.console import text_table

    sides = [(storage, study or _only_study(storage)) for storage, study in map(_named_study, options.studies)]
    found = write_comparison(*sides[0], *sides[1], options.output)
    console = make_console()
    console.print(text_table(found.table))
    console.print(f"\n{found.sentence}\n\nReport: {found.path}", soft_wrap=True, highlight=False)
    return EXIT_OK


def gc(options: argparse.Namespace) -> int:
    from raystudy.cluster.garbage import collect_garbage

    found = collect_garbage(Store.open(options.storage), dry_run=options.dry_run)
    verb = "would free" if options.dry_run else "freed"
    listed = "".join(f"\n  {name}" for name in found.segments)
    make_console().print(f"{verb} {found.freed_bytes / 2**20:.1f} MiB; segments of no study: {listed or 'none'}")
    return EXIT_OK


def _write_report(options: argparse.Namespace, study: str) -> None:
    from analysis.report import write_report

    written = write_report(options.storage, study, options.output, live=True, price_per_hour=options.price_per_hour)
    make_console().print(f"Report: {written.path}", soft_wrap=True, highlight=False)


def print_report(storage: str, study: str, output: Path | None, price_per_hour: float | None = None) -> None:
    from analysis.report import write_report
    from raystudy.console import text_table

    console = make_console()
    written = write_report(storage, study, output, price_per_hour=price_per_hour)
    console.print(text_table(written.table))
    for note in written.notes:
        console.print(note, soft_wrap=True, style="dim")
    console.print(f"\n{written.sentence}\n", soft_wrap=True, highlight=False)
    console.print(f"Report: {written.path}", soft_wrap=True, highlight=False)


def print_search_report(storage: str, search: str, output: Path | None) -> None:
    from analysis.search import load_search
    from analysis.search_page import headline, write_search_report

    record = load_search(storage, search)
    if record is None:
        raise StorageError(f"storage {storage} has no search {search!r}")
    console = make_console()
    written = write_search_report(storage, search, output)
    console.print(f"\n{headline(record)}\n", soft_wrap=True, highlight=False)
    console.print(f"Report: {written}", soft_wrap=True, highlight=False)


def _print_search(storage: str, search: str) -> None:
    from analysis.search import budget_table, load_search
    from raystudy.console import text_table

    record = load_search(storage, search)
    if record is not None:
        table, console = budget_table(record), make_console()
        console.print(f"[bold]{search}[/bold]")
        console.print(text_table([table.header, *table.lines]))


def studies(options: argparse.Namespace) -> list[str]:
    """Those that a command is asked about; none when ``--study`` names a search."""
    store = Store.open(options.storage)
    if options.study is None:
        return store.study_names()
    return [] if options.study in store.search_names() else [options.study]


def searches(options: argparse.Namespace) -> list[str]:
    """Those that a command is asked about."""
    names = Store.open(options.storage).search_names()
    return [name for name in names if options.study in (None, name)]


def _named_study(text: str) -> tuple[str, str]:
    """``STORAGE`` or ``STORAGE:STUDY``."""
    storage, _, study = text.rpartition(":") if ":" in text and "/" not in text.rsplit(":", 1)[1] else (text, "", "")
    return storage, study


def _only_study(storage: str) -> str:
    names = Store.open(storage).study_names()
    if len(names) != 1:
        raise SpecError(f"storage {storage} has the studies {', '.join(names) or 'none'}; say which: {storage}:STUDY")
    return names[0]
