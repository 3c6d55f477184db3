"""Commands on a storage: `raystudy status`, `report`, `compare` and `gc`."""

import argparse
import time
from pathlib import Path
from typing import Any

from raystudy.commands import EXIT_OK
from raystudy.commands.frame import Command, Subparsers, add_command, add_json_flag, print_json
from raystudy.console import make_console
from raystudy.errors import RaystudyError, SpecError, StorageError
from raystudy.files import is_address
from raystudy.records import TrialRecord
from raystudy.store import Store

LIVE_INTERVAL_S = 15
"""Between two reports of `raystudy report --live`."""


_COMPARE = """
raystudy compare runs/demo runs/mine
raystudy compare runs/mine:schedule_length runs/mine:seeds --output side_by_side
"""


def add(added: "Subparsers[Any]") -> None:
    """The commands on a storage."""
    examples = "raystudy status runs/demo\nraystudy status runs/demo --study schedule_length --json"
    made = add_storage_command(added, "status", "say how far the trials of a storage are", status, examples)
    add_json_flag(made)
    examples = "raystudy report runs/demo\nraystudy report runs/demo --live\nraystudy report runs/demo --json"
    made = add_storage_command(added, "report", "write the breakdown of a storage's studies", report, examples)
    add_json_flag(made)
    made.add_argument("--output", type=Path, help="folder for the report; STORAGE/reports/STUDY when not given")
    made.add_argument("--live", action="store_true", help="write it again and again while the study runs")
    made.add_argument("--price-per-hour", type=float, help="of one device, to show money beside device time")
    made = add_command(added, "compare", "put two studies side by side", compare, _COMPARE)
    made.add_argument("studies", nargs=2, metavar="STORAGE[:STUDY]", help="which; STORAGE alone if it has one study")
    made.add_argument("--output", type=Path, default=Path("comparison"), help="folder (default %(default)s)")
    add_json_flag(made)
    examples = "raystudy gc runs/demo --dry-run\nraystudy gc runs/demo"
    made = add_storage_command(added, "gc", "free what no study of a storage needs; results stay", gc, examples)
    add_json_flag(made)
    made.add_argument("--dry-run", action="store_true", help="say what would be deleted, and delete nothing")


def add_storage_command(
    added: "Subparsers[Any]", name: str, text: str, function: Command, examples: str
) -> argparse.ArgumentParser:
    """A command that takes a storage and, when it is to be one only, a study."""
    made = add_command(added, name, text, function, examples)
    made.add_argument("storage", help="folder of studies, such as runs/demo")
    made.add_argument("--study", help="one study; all of them when not given")
    return made


def status(options: argparse.Namespace) -> int:
    """Print how far every trial is; a study that this version cannot read takes a line and stops no other."""
    from raystudy.commands.status_json import status_content
    from raystudy.console import trials_table

    store, console = Store.open(options.storage), make_console()
    found = {name: _study_records(store, name) for name in studies(options)}
    if options.json:
        print_json(status_content(options.storage, store, found, searches(options)))
        return EXIT_OK
    for name, records in found.items():
        console.print(f"[bold]{name}[/bold]")
        if isinstance(records, RaystudyError):
            console.print(f"cannot be read, perhaps of another version of raystudy: {records}", soft_wrap=True)
        else:
            console.print(trials_table(records))
    for name in searches(options):
        _print_search(options.storage, name)
    return EXIT_OK


def _study_records(store: Store, name: str) -> list[TrialRecord] | RaystudyError:
    """Every trial of a study as it is now, or why that cannot be told."""
    from raystudy.cluster.ledger import read_trial
    from raystudy.spec.plan import stored_plan

    content = store.read_study(name)
    try:
        plan = stored_plan(content)
        return [read_trial(store, plan, trial_id) for trial_id in plan.trials]
    except RaystudyError as error:
        return error


def report(options: argparse.Namespace) -> int:
    """Write the report; with ``--live`` again and again until the study is done or Ctrl-C."""
    names = studies(options)
    if options.json:
        return _report_json(options, names)
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
    if options.json:
        sides_named = [{"storage": storage, "study": study} for storage, study in sides]
        print_json({"sides": sides_named, "sentence": found.sentence, "table": found.table, "report": found.path})
        return EXIT_OK
    console = make_console()
    console.print(text_table(found.table))
    console.print(f"\n{found.sentence}\n\nReport: {found.path}", soft_wrap=True, highlight=False)
    return EXIT_OK


def gc(options: argparse.Namespace) -> int:
    from raystudy.cluster.garbage import collect_garbage

    found = collect_garbage(Store.open(options.storage), dry_run=options.dry_run)
    if options.json:
        print_json({"dry_run": options.dry_run, "freed_bytes": found.freed_bytes, "segments": found.segments})
        return EXIT_OK
    verb = "would free" if options.dry_run else "freed"
    listed = "".join(f"\n  {name}" for name in found.segments)
    make_console().print(f"{verb} {found.freed_bytes / 2**20:.1f} MiB; segments of no study: {listed or 'none'}")
    return EXIT_OK


def _report_json(options: argparse.Namespace, names: list[str]) -> int:
    from analysis.report import write_report

    if options.live:
        raise SpecError("--live goes on and on, and --json answers once; give one of them")
    reports = []
    for name in names:
        written = write_report(options.storage, name, options.output, price_per_hour=options.price_per_hour)
        told = {"study": name, "sentence": written.sentence, "table": written.table, "notes": written.notes}
        reports.append({**told, "report": written.path})
    print_json({"storage": options.storage, "reports": reports})
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
    if written.address:
        console.print(f"        {written.address}", soft_wrap=True, highlight=False)


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
    if is_address(storage) and output is None:
        console.print(f"        {storage}/reports/{search}/report.html", soft_wrap=True, highlight=False)


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
