"""The page of a hyper-parameter search: what was found, where it lies in the space, and what it cost."""

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.destination import deliver, report_folder
from analysis.page import Section, fill
from analysis.search import (
    arms,
    best_table,
    budget_table,
    importance_table,
    is_logarithmic,
    load_search,
    metric_name,
    search_tables,
    slices,
    text,
    trials_table,
)
from analysis.tables import number
from raystudy.errors import StorageError
from raystudy.search_records import SearchRecord
from raystudy.spec.identity import from_dict
from raystudy.spec.parameter import Parameter

WIDTH, HEIGHT, LEFT, BOTTOM = 420, 230, 44, 34
"""Of one slice, in the units of its SVG."""

MOST_TICKS = 7

_DOT = "display:inline-block;width:.65em;height:.65em;border-radius:50%;margin-left:.6em"

Points = Sequence[tuple[float | str, float]]


def write_search_report(storage: str, name: str, destination: Path | None = None) -> Path:
    """Write report.html and tables/ (CSV, LaTeX) of a search; the path of the page.

    Raises:
        StorageError: there is no such search.
    """
    record = load_search(storage, name)
    if record is None:
        raise StorageError(f"{storage} has no search {name!r}")
    folder = report_folder(storage, name, destination)
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    for table in search_tables(record).values():
        (folder / "tables" / f"{table.name}.csv").write_text(table.to_csv(), encoding="utf-8")
        (folder / "tables" / f"{table.name}.tex").write_text(table.to_latex(), encoding="utf-8")
    path = folder / "report.html"
    path.write_text(search_page(record), encoding="utf-8")
    deliver(storage, name, folder)
    return path


def search_page(record: SearchRecord) -> str:
    """The whole page as text."""
    sections = [
        Section("best", "The best of each arm", best_table(record).to_html(), {}),
        Section("slices", "Where the good trials lie", _slices_html(record), {}),
        Section("importance", "What mattered", _importance_html(record), {}),
        Section("budget", "What each arm was given", budget_table(record).to_html(), {}),
        Section("trials", "Every trial", trials_table(record).to_html(), {}),
    ]
    answer = f"<h1>{html.escape(headline(record))}</h1><p class='support'>{html.escape(_support(record))}</p>"
    nothing: dict[str, Any] = {"metrics": [], "segments": [], "settings": []}
    kicker = f"Search <b>{html.escape(record.name)}</b>"
    return fill(f"{record.name}: {headline(record)}", kicker, answer, sections, nothing)


def headline(record: SearchRecord) -> str:
    """What each arm reached, in one sentence."""
    found = {arm: record.best_trial(arm) for arm in arms(record)}
    words = [f"{number(t.value)} from {arm}" for arm, t in found.items() if t is not None and t.value is not None]
    return f"{metric_name(record)} {' and '.join(words)}" if words else "No trial is complete yet"


def _support(record: SearchRecord) -> str:
    trials = ", ".join(f"{len(record.of_arm(arm))} trials of {arm}" for arm in arms(record))
    return (
        f"The best of {trials}, each arm searched alone. One seed, and the pictures that the best was chosen by: "
        "a comparison needs fresh seeds."
    )


def _importance_html(record: SearchRecord) -> str:
    table = importance_table(record)
    return table.to_html() if table.lines else "<p class='note'>Too few complete trials to say.</p>"


def _slices_html(record: SearchRecord) -> str:
    parameters = {parameter["name"]: parameter for parameter in record.spec["parameters"]}
    label = f"{metric_name(record)}, %"
    drawn = [_slice(parameters[name], points, label) for name, points in slices(record).items() if any(points.values())]
    note = "<p class='note'>A point is a complete trial. Pruned ones have no value at the end and are not drawn.</p>"
    return f"<div class='pair'>{''.join(drawn)}</div>{note}" if drawn else ""


def _slice(parameter: Mapping[str, Any], points: Mapping[str, Points], label: str) -> str:
    """One parameter against the metric, as static SVG that takes the page's colours."""
    name = str(parameter["name"])
    place, ticks = _x_axis(parameter)
    top = max((y for own in points.values() for _, y in own), default=0.0) or 1.0
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = _y(share * top, top)
        parts.append(f"<line class='grid' x1='{LEFT}' x2='{WIDTH}' y1='{y}' y2='{y}'/>")
        parts.append(f"<text x='{LEFT - 6}' y='{y + 4}' text-anchor='end'>{share * top:.3g}</text>")
    for value in ticks:
        words = html.escape(text(value))
        parts.append(f"<text x='{place(value)}' y='{HEIGHT - BOTTOM + 20}' text-anchor='middle'>{words}</text>")
    for position, (arm, own) in enumerate(points.items()):
        shift = 5 * position - 2.5 * (len(points) - 1)  # arms with equal values stand side by side
        for x, y in own:
            title = html.escape(f"{arm}: {name} {text(x)}, {number(y, 2)}")
            parts.append(
                f"<circle class='end {html.escape(arm)}' cx='{place(x) + shift:.1f}' cy='{_y(y, top)}' r='4.5' "
                f"fill-opacity='0.75'><title>{title}</title></circle>"
            )
    legend = " ".join(
        f"<span class='dot {html.escape(arm)}' style='{_DOT}'></span> {html.escape(arm)}" for arm in points
    )
    return (
        f"<figure class='chart'><figcaption>{html.escape(label)} over {html.escape(name)}</figcaption>"
        f"<p class='note legend'>{legend}</p>"
        f"<svg viewBox='0 0 {WIDTH + 12} {HEIGHT}' role='img' aria-label='{html.escape(name)}'>{''.join(parts)}</svg>"
        "</figure>"
    )


def _x_axis(parameter: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    """Value -> x, and the values that are written at the axis."""
    inner = WIDTH - LEFT - 40
    if parameter["choices"]:
        names = [level["name"] for level in parameter["choices"]]
        gap = inner / max(1, len(names) - 1)
        return (lambda value: LEFT + 20 + gap * names.index(value)), names
    scale = math.log if is_logarithmic(parameter) else float
    low, high = scale(parameter["low"]), scale(parameter["high"])
    middle = math.exp((low + high) / 2) if is_logarithmic(parameter) else (low + high) / 2
    ticks = [parameter["low"], round(middle) if parameter["whole"] else middle, parameter["high"]]
    grid = from_dict(Parameter, parameter).finite_values()
    ticks = list(grid) if 1 < len(grid) <= MOST_TICKS else ticks
    return (lambda value: round(LEFT + 20 + inner * (scale(value) - low) / (high - low), 1)), ticks


def _y(value: float, top: float) -> float:
    return round(12 + (HEIGHT - BOTTOM - 12) * (1 - max(0.0, value) / top), 1)
