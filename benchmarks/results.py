"""RESULTS.md: a table with a line a row, of which only those that were measured are written anew."""

import platform
import re
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from benchmarks.row import Outcome, Row, spread_text

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
PACKAGES = ("torch", "torchvision", "pycocotools", "ray", "numpy", "pandas")
MEASURED = ("raystudy", "analysis", "benchmarks")
"""Folders whose uncommitted changes make a commit's name no full account."""

HEADER = """# Results

What `make bench` measured last, row by row (`make bench ROW=name` for one). Ratios of CPU time, ours and the peer's in
turns within one process, one thread; medians (of rounds' ratios, of seconds), with the least and the largest round. *At
least* rows are times as fast as the peer, *at most* rows a part of the peer's. *The machine's limit* is below the
claim, but within a tenth of what this machine's memory allows, which was measured in the same rounds. A commit with `+`
had changes that were not committed. The file is written by the command: nothing here is typed in.
"""
COLUMNS = ("row", "what", "against", "figure", "claim", "stretch", "ours", "peer's", "verdict", "measured")


def update(found: Iterable[tuple[Row, Outcome]], known: Iterable[Row], path: Path = RESULTS) -> None:
    """Write the lines of the rows that were measured; others stay as they are, in the order of ``known``."""
    text = path.read_text() if path.exists() else ""
    machines = dict(re.findall(r"^- \*\*([A-Z])\*\*: (.*)$", text, re.MULTILINE))
    table, notes = _lines(text), dict(re.findall(r"^- `([^`]+)`: (.*)$", text, re.MULTILINE))
    here = machine()
    letter = next((key for key, value in machines.items() if value == here), None)
    letter = letter or next(key for key in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if key not in machines)
    machines[letter] = here
    for row, outcome in found:
        table[row.name] = _line(row, outcome, f"{letter}, {commit()}")
        notes.pop(row.name, None)
        if outcome.note and not outcome.missing:
            notes[row.name] = outcome.note
    names = [row.name for row in known]
    names += [name for name in table if name not in names]  # of a file that came while this process ran
    lines = [table[name] for name in names if name in table]
    used = {line[-1].split(",")[0] for line in lines}
    parts = [HEADER, _markdown([COLUMNS, ("---",) * len(COLUMNS), *lines])]
    parts += ["\nMachines:\n", "\n".join(f"- **{key}**: {machines[key]}" for key in sorted(machines) if key in used)]
    parts += ["\nWhat was worked on:\n", "\n".join(f"- `{name}`: {notes[name]}" for name in names if name in notes)]
    path.write_text("\n".join(parts) + "\n")


def _line(row: Row, found: Outcome, measured: str) -> tuple[str, ...]:
    claim = (
        f"at least {row.ratio_text(row.at_least)}" if row.at_most is None else f"at most {row.ratio_text(row.at_most)}"
    )
    head, stretch = (row.name, row.what, row.against), row.ratio_text(row.stretch)
    if found.missing:
        return (*head, "", claim, stretch, "", "", row.verdict(found), measured)
    own, other = (f"{spread_text(values)} {found.unit}" for values in (found.ours, found.peer))
    return (*head, row.figure_text(found), claim, stretch, own, other, row.verdict(found), measured)


def _lines(text: str) -> dict[str, tuple[str, ...]]:
    """The table's lines by name of row."""
    found = {}
    for line in text.splitlines():
        cells = tuple(cell.strip() for cell in line.strip("|").split(" | "))
        if line.startswith("| ") and len(cells) == len(COLUMNS) and cells[0] not in ("row", "---"):
            found[cells[0]] = cells
    return found


def _markdown(lines: Iterable[Iterable[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def machine() -> str:
    """Processor, cores, and versions of what was compared."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    cores = 0
    if info.exists():
        text = info.read_text()
        cores = text.count("processor\t")
        named = re.search(r"model name\s*: (.*)", text)
        cpu = named[1] if named else cpu
        cpu += "".join(f", {flag}" for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {flag}" in text)
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{cpu}; {cores} cores; Python {platform.python_version()}, {versions}"


def commit() -> str:
    """Short name of the commit that is checked out; ``+`` when the code has changes beyond it."""
    name = _git("rev-parse", "--short=10", "HEAD")
    changed = [line for line in _git("status", "--porcelain", "--", *MEASURED).splitlines() if "RESULTS.md" not in line]
    return (name or "no commit") + ("+" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
