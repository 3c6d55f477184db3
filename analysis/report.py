"""A study's report: a sentence, a table and a page, with figures and tables for papers."""

import math
from dataclasses import dataclass
from pathlib import Path

from analysis.cost import trial_hours
from analysis.destination import deliver, report_folder
from analysis.evidence import SettingEvidence, evidence
from analysis.figures import write_figures
from analysis.findings import all_tables, final_table
from analysis.less_data import break_even_words, data_gaps
from analysis.load import StudyTable, load_study
from analysis.methods import trials_table
from analysis.page import page
from analysis.tables import Table
from analysis.verdict import verdict


@dataclass(frozen=True)
class Report:
    """What ``write_report`` found and where the page is."""

    sentence: str
    """One for each setting, on lines of their own; the break-even data size first where there is one."""

    table: list[tuple[str, ...]]
    """Final AP per init and schedule; header first; cells are text."""

    path: Path
    notes: tuple[str, ...] = ()
    """Trials that are not complete, in words."""

    address: str = ""
    """Where the page lies in the object store that the study is in."""


def write_report(
    storage: str,
    study: str,
    destination: Path | None = None,
    *,
    live: bool = False,
    price_per_hour: float | None = None,
) -> Report:
    """Write report.html, figures/ (PNG, SVG) and tables/ (CSV, LaTeX).

    Args:
        storage: a folder, or a URI such as s3://.
        study: name of the study.
        destination: folder to write to; STORAGE/reports/STUDY when None, by way of this machine to an object store.
        live: the page reloads itself, for a study that runs.
        price_per_hour: of one device, in any currency; None gives no prices.

    Raises:
        StorageError: there is no such study.
        RowsError: the rows are not whole.
    """
    table = load_study(storage, study)
    folder = report_folder(storage, study, destination)
    found = evidence(table)
    verdicts = [verdict(one, _hours_per_seed(table, one)) for one in found]
    tables = all_tables(table, found, price_per_hour)
    path = folder / "report.html"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(page(table, found, verdicts, tables, live=live), encoding="utf-8")
    _write_tables(folder / "tables", [*tables.values(), trials_table(table)])
    if len(table.rows):
        write_figures(table, found, folder / "figures")
    sentences = [f"{one.label}: {v.sentence}" for one, v in zip(found, verdicts, strict=True)]
    gaps = data_gaps(table, found)
    if len(found) == 1:
        sentences = [verdicts[0].sentence]
    elif gaps:
        sentences.insert(0, break_even_words(gaps))
    final = final_table(found)
    return Report(
        sentence="\n".join(sentences),
        table=[final.header, *final.lines],
        path=path,
        notes=unfinished(table),
        address=deliver(storage, study, folder),
    )


def unfinished(study: StudyTable) -> tuple[str, ...]:
    """Trials that are not complete, in words."""
    trials = study.trials[study.trials["state"] != "complete"].reset_index()
    columns = trials[["trial_id", "state", "iteration", "total", "error"]].astype(str)
    return tuple(
        f"{trial_id} is {state} at iteration {iteration} of {total}" + (f": {error}" if error else "")
        for trial_id, state, iteration, total, error in columns.itertuples(index=False, name=None)
    )


def _hours_per_seed(study: StudyTable, one: SettingEvidence) -> float:
    """Device-hours that one more seed of a setting's trials would take, each segment once."""
    if not one.trial_ids:
        return math.nan
    ids = list(one.trial_ids.values())
    used = {ref.segment_id for trial_id in ids for ref in study.records[trial_id].segments}
    segments = study.segments[study.segments.index.isin(used)]
    hours = float((segments["wall_time_s"] * segments["workers"]).sum()) / 3600
    seeds = len({seed for _, _, seed in one.trial_ids})
    return hours / seeds if len(trial_hours(study)) else math.nan


def _write_tables(folder: Path, tables: list[Table]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for table in tables:
        (folder / f"{table.name}.csv").write_text(table.to_csv(), encoding="utf-8")
        (folder / f"{table.name}.tex").write_text(table.to_latex(), encoding="utf-8")
