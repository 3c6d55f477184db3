"""Measure rows and judge them: what ``make bench`` runs.

    python -m benchmarks                  every row
    python -m benchmarks NAME...          these rows, or all rows of these files
    python -m benchmarks --list
    python -m benchmarks --quick          little data: only whether results are right is judged, nothing is written

Exit status 1 when a row falls below its claim, or its results differ from the peer's. Lines of RESULTS.md are written
as rows end.
"""

import argparse
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import benchmarks
from benchmarks.results import ROOT, update
from benchmarks.row import Outcome, Row, spread_text

Named = dict[str, list[Row]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows or files of rows; all rows when none is given")
    parser.add_argument("--quick", action="store_true", help="little data: judge only whether results are right")
    parser.add_argument("--list", action="store_true", help="name all rows and measure none")
    parser.add_argument("--in-process", nargs=2, metavar=("FILE", "TO"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.in_process:
        _measure_here(options.in_process[0], options.names[0], Path(options.in_process[1]), options.quick)
        return 0
    files = rows_by_file()
    every = [row for rows in files.values() for row in rows]
    if options.list:
        for row in every:
            print(f"{row.name:24} {row.what}")
        return 0
    try:
        chosen = choose(files, options.names)
    except KeyError as error:
        parser.error(
            f"no row or file of rows is called {error.args[0]!r}; there are {', '.join(r.name for r in every)}"
        )
    failed = []
    for number, (file, row) in enumerate(chosen, 1):
        print(f"[{number}/{len(chosen)}] {row.name}: {row.what}, against {row.against}", flush=True)
        began = time.monotonic()
        found = measure(file, row, options.quick)
        if found is None or not row.holds(found, options.quick):
            failed.append(row.name)
        print(f"    {_told(row, found, options.quick)} [{time.monotonic() - began:.0f} s]", flush=True)
        if found is not None and not options.quick:
            update([(row, found)], every)
    if failed:
        print(f"below their claim: {', '.join(failed)}")
    return int(bool(failed))


def rows_by_file() -> Named:
    """All rows, by the file that lists them."""
    found = {}
    for module in pkgutil.iter_modules(benchmarks.__path__):
        if module.name != "__main__":
            rows = getattr(importlib.import_module(f"benchmarks.{module.name}"), "ROWS", ())
            if rows:
                found[module.name] = list(rows)
    names = [row.name for rows in found.values() for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"rows need names of their own: {', '.join(twice)}")
    return found


def choose(files: Named, names: Sequence[str]) -> list[tuple[str, Row]]:
    """The rows that are named, by their own name or their file's; all when none is.

    Raises:
        KeyError: a name that nothing has.
    """
    pairs = [(file, row) for file, rows in files.items() for row in rows]
    if not names:
        return pairs
    chosen: list[tuple[str, Row]] = []
    for name in names:
        meant = [(file, row) for file, row in pairs if row.name == name] or [p for p in pairs if p[0] == name]
        if not meant:
            raise KeyError(name)
        chosen += [pair for pair in meant if pair not in chosen]
    return chosen


def measure(file: str, row: Row, quick: bool) -> Outcome | None:
    """Measure in a process of its own, whose memory and settings concern no other row; None when that failed."""
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "outcome.json"
        command = [sys.executable, "-m", "benchmarks", row.name, "--in-process", file, str(to)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(command + ["--quick"] * quick, cwd=ROOT, env=environment, check=False)
        return Outcome(**json.loads(to.read_text())) if done.returncode == 0 and to.exists() else None


def _measure_here(file: str, name: str, to: Path, quick: bool) -> None:
    import torch

    torch.set_num_threads(1)
    rows: Sequence[Row] = importlib.import_module(f"benchmarks.{file}").ROWS
    found = next(row for row in rows if row.name == name).measure(quick)
    to.write_text(json.dumps(found.to_dict()))


def _told(row: Row, found: Outcome | None, quick: bool) -> str:
    if found is None:
        return "FAILED: could not be measured"
    if found.missing:
        return f"not measurable here: {found.missing}"
    verdict = "" if row.holds(found, quick) else "  FAILED" if found.is_right else "  FAILED: results DIFFER"
    claim = f"claim: at {'least' if row.at_most is None else 'most'} {row.ratio_text(row.at_least or row.at_most)}"
    return (
        f"{row.figure_text(found)} ({claim}{', not judged' if quick else ''}): {spread_text(found.ours)} against "
        f"{spread_text(found.peer)} {found.unit}; {found.note}{verdict}"
    )


if __name__ == "__main__":
    sys.exit(main())
