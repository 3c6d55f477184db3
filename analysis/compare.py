"""Two studies side by side: another data set, another recipe, another commit."""

import html
from pathlib import Path

from analysis.charts import curves, side_by_side
from analysis.evidence import SettingEvidence, evidence
from analysis.findings import ap_name
from analysis.load import StudyTable, load_study
from analysis.page import Section, figure, fill
from analysis.report import Report
from analysis.statistics import Interval
from analysis.tables import Table, bounds, number, signed
from analysis.verdict import verdict


def write_comparison(storage: str, study: str, other_storage: str, other_study: str, destination: Path) -> Report:
    """Write compare.html into the folder ``destination``; the report's table has one line a schedule.

    Raises:
        StorageError: there is no such study.
        RowsError: the rows of one are not whole.
    """
    studies = load_study(storage, study), load_study(other_storage, other_study)
    found = evidence(studies[0]), evidence(studies[1])
    names = _names(studies)
    table = comparison_table(names, found)
    sentences = [f"{name}: {_sentence(one)}" for name, one in zip(names, found, strict=True)]
    destination.mkdir(parents=True, exist_ok=True)
    path = destination / "compare.html"
    path.write_text(_page(names, studies, found, table), encoding="utf-8")
    (destination / "compare.csv").write_text(table.to_csv(), encoding="utf-8")
    return Report(sentence="\n".join(sentences), table=[table.header, *table.lines], path=path)


def comparison_table(names: tuple[str, str], found: tuple[list[SettingEvidence], list[SettingEvidence]]) -> Table:
    """Random minus pre-trained of both studies at each schedule that one of them has, in units of each one's 1x."""
    first, second = _by_schedule(found[0]), _by_schedule(found[1])
    first_name, second_name = ap_name(found[0]), ap_name(found[1])
    lines = []
    for units, label in sorted({**first, **second}, key=lambda key: (key[1], key[0])):
        a, b = first.get((units, label)), second.get((units, label))
        difference = signed(b.value - a.value) if a and b and first_name == second_name else "–"
        cells = [cell for gap in (a, b) for cell in (signed(gap.value) if gap else "–", bounds(gap))]
        lines.append((f"{units:g}x" + (f", {label}" if label != "all trials" else ""), *cells, difference))
    header = ("schedule", f"Δ {names[0]}", "95% CI", f"Δ {names[1]}", "95% CI", "second − first")
    told = first_name if first_name == second_name else f"{first_name} of the first, {second_name} of the second"
    note = (
        f"Δ is random − pre-trained, {told}. Schedules share a line when they are as many times their study's 1x. "
        "The last column has no interval: the studies may share neither pictures nor seeds."
    )
    return Table("compare", "Side by side", header, lines, note)


def _by_schedule(found: list[SettingEvidence]) -> dict[tuple[float, str], Interval]:
    return {(line.units, one.label): one.deltas[line.total] for one in found for line in one.both}


def _names(studies: tuple[StudyTable, StudyTable]) -> tuple[str, str]:
    first, second = studies[0].name, studies[1].name
    return (f"{first} (A)", f"{second} (B)") if first == second else (first, second)


def _sentence(found: list[SettingEvidence]) -> str:
    return " ".join((f"{one.label}: " if len(found) > 1 else "") + verdict(one).sentence for one in found)


def _page(
    names: tuple[str, str],
    studies: tuple[StudyTable, StudyTable],
    found: tuple[list[SettingEvidence], list[SettingEvidence]],
    table: Table,
) -> str:
    both = [curves(study, one) for study, one in zip(studies, found, strict=True)]
    for name, lines in zip(names, both, strict=True):
        for setting in lines["settings"]:
            setting["label"] = name if len(lines["settings"]) == 1 else f"{name}: {setting['label']}"
    charts = figure("ap-first", "ap", names[0]) + figure("ap-second", "ap", names[1], len(found[0]))
    facts = Table("facts", "Final AP", ("study", "schedule", "random", "pre-trained", "Δ"), _final_lines(names, found))
    title = f"{names[0]} beside {names[1]}"
    sections = [
        Section("compare", "Side by side", table.to_html() + f'<div class="pair">{charts}</div>' + facts.to_html(), {})
    ]
    answers = "".join(
        f"<li><b>{html.escape(name)}</b>: {html.escape(_sentence(one))}</li>"
        for name, one in zip(names, found, strict=True)
    )
    answer = f"<h1>{html.escape(title)}</h1><ul class='answers'>{answers}</ul>"
    return fill(title, "Two studies", answer, sections, side_by_side(*both))


def _final_lines(
    names: tuple[str, str], found: tuple[list[SettingEvidence], list[SettingEvidence]]
) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    for name, settings in zip(names, found, strict=True):
        for one in settings:
            label = f"{name}, {one.label}" if len(settings) > 1 else name
            for line in one.both:
                assert line.random is not None
                assert line.pretrained is not None
                pair = (number(line.random.mean), number(line.pretrained.mean))
                lines.append((label, line.schedule, *pair, signed(line.delta)))
    return lines
