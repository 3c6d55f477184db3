"""A study's report: a sentence, a table and a page."""

import base64
import html
import math
from dataclasses import dataclass
from pathlib import Path

from analysis.arms import SETTING, setting_label
from analysis.convergence import ScheduleLine, convergence_lines, settings
from analysis.figures import write_figures
from analysis.load import StudyTable, load_study
from analysis.verdict import sentence
from raystudy.errors import StorageError

HEADER = ("setting", "schedule", "random AP", "pre-trained AP", "Δ AP", "random mask", "pre-trained mask", "seeds")


@dataclass(frozen=True)
class Report:
    """What ``write_report`` found and where the page is."""

    sentence: str
    table: list[tuple[str, ...]]
    """Header first; cells are text."""

    path: Path
    notes: tuple[str, ...] = ()
    """Trials that are not complete, in words."""


def write_report(storage: str, study: str, destination: Path | None = None) -> Report:
    """Write the page, its figures and tables; ``destination`` is a folder, STORAGE/reports/STUDY when None.

    Raises:
        StorageError: there is no such study, or the storage is an object store and no destination is given.
        RowsError: the rows are not whole.
    """
    table = load_study(storage, study)
    folder = destination or _default_folder(storage, study)
    folder.mkdir(parents=True, exist_ok=True)
    constant = tuple(name for name in SETTING if table.trials[name].nunique() <= 1)
    lines = convergence_lines(table)
    answer = _sentences(table, lines, constant)
    cells = [HEADER, *(_cells(line, constant) for line in lines)]
    notes = _notes(table)
    figures = write_figures(table, folder / "figures", constant) if len(table.rows) else []
    path = folder / "report.html"
    path.write_text(_page(study, answer, cells, notes, [f for f in figures if f.suffix == ".png"]), encoding="utf-8")
    return Report(sentence=answer, table=cells, path=path, notes=notes)


def _default_folder(storage: str, study: str) -> Path:
    if "://" in storage:
        raise StorageError(f"a report on {storage} needs a local folder to write to; name one")
    return Path(storage).expanduser() / "reports" / study


def _sentences(table: StudyTable, lines: list[ScheduleLine], constant: tuple[str, ...]) -> str:
    found = []
    for setting in settings(table):
        answer = sentence([line for line in lines if line.setting == setting])
        label = setting_label(dict(zip(SETTING, setting, strict=True)), constant)
        found.append(answer if len(settings(table)) == 1 else f"{label}: {answer}")
    return "\n".join(found)


def _cells(line: ScheduleLine, constant: tuple[str, ...]) -> tuple[str, ...]:
    random, pretrained = line.random, line.pretrained
    return (
        setting_label(dict(zip(SETTING, line.setting, strict=True)), constant),
        line.schedule,
        _mean_spread(random.mean, random.spread) if random else "-",
        _mean_spread(pretrained.mean, pretrained.spread) if pretrained else "-",
        "-" if math.isnan(line.delta) else f"{line.delta:+.1f}",
        _number(random.mask_mean) if random else "-",
        _number(pretrained.mask_mean) if pretrained else "-",
        f"{len(random.values) if random else 0} / {len(pretrained.values) if pretrained else 0}",
    )


def _notes(table: StudyTable) -> tuple[str, ...]:
    unfinished = table.trials[table.trials["state"] != "complete"]
    columns = unfinished.reset_index()[["trial_id", "state", "iteration", "total", "error"]].astype(str)
    return tuple(
        f"{trial_id} is {state} at iteration {iteration} of {total}" + (f": {error}" if error else "")
        for trial_id, state, iteration, total, error in columns.itertuples(index=False, name=None)
    )


def _page(study: str, answer: str, cells: list[tuple[str, ...]], notes: tuple[str, ...], figures: list[Path]) -> str:
    rows = [f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in line)}</tr>" for line in cells]
    images = [
        f'<img alt="{path.stem}" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}">'
        for path in figures
    ]
    body = [f"<h1>{html.escape(study)}</h1>", *(f"<p>{html.escape(line)}</p>" for line in answer.splitlines())]
    body += ["<table>", *rows, "</table>", *images, *(f"<p>{html.escape(note)}</p>" for note in notes)]
    style = "body{font:16px system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}img{width:100%}"
    title = f"<title>{html.escape(study)}</title><style>{style}</style>"
    head = f'<!doctype html><html lang="en"><meta charset="utf-8">{title}'
    return head + "\n".join(body) + "</html>\n"


def _mean_spread(mean: float, spread: float) -> str:
    return f"{mean:.1f}" if math.isnan(spread) else f"{mean:.1f} ± {spread:.1f}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"
