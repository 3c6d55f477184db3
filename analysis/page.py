"""The page: one HTML file that opens offline, for people who have not seen the paper."""

import html
import importlib.resources
import json
import string
from dataclasses import dataclass
from typing import Any

from analysis.answer import answer_html, overfitting_words
from analysis.charts import TRAIN_AP, curves, exposure_chart, interval_chart
from analysis.evidence import SettingEvidence, differences
from analysis.examples import examples_html
from analysis.leading import KEYPOINT
from analysis.less_data import break_even_size_words, break_even_words, data_gaps
from analysis.load import StudyTable
from analysis.methods import methods_html, trials_html
from analysis.metrics import iou_deltas, matched_kind
from analysis.paper import FROM_SCRATCH, beside, repeats_paper
from analysis.tables import Table
from analysis.verdict import Verdict

Json = dict[str, Any]
REFRESH_S = 30
"""Seconds between two loads of a page that is written with ``live``."""


@dataclass(frozen=True)
class Section:
    """A part of the page; ``charts`` are what its figures draw, by id."""

    anchor: str
    title: str
    body: str
    charts: dict[str, Json]


def page(
    study: StudyTable,
    found: list[SettingEvidence],
    verdicts: list[Verdict],
    tables: dict[str, Table],
    *,
    live: bool = False,
) -> str:
    """The whole page as text."""
    sections = _sections(study, found, tables)
    title = f"{study.name}: {verdicts[0].headline if verdicts else 'no trials'}"
    kicker = f"Study <b>{html.escape(study.name)}</b>"
    kicker += f", preset <b>{html.escape(study.preset)}</b>" if study.preset else ""
    return fill(title, kicker, answer_html(study, found, verdicts), sections, curves(study, found), live=live)


def fill(title: str, kicker: str, answer: str, sections: list[Section], lines: Json, *, live: bool = False) -> str:
    """The page's template with its parts; ``kicker`` and ``answer`` are HTML, sections without a body are left out."""
    chosen = [section for section in sections if section.body]
    charts: dict[str, Json] = {}
    for section in chosen:
        charts |= section.charts
    data = json.dumps({"curves": lines, "charts": charts}, separators=(",", ":"), allow_nan=False)
    parts = {
        "title": html.escape(title),
        "kicker": kicker,
        "refresh": f'<meta http-equiv="refresh" content="{REFRESH_S}">\n' if live else "",
        "answer": answer,
        "links": "".join(f'<a href="#{s.anchor}">{s.title}</a>' for s in chosen),
        "sections": "\n".join(f'<section id="{s.anchor}"><h2>{s.title}</h2>{s.body}</section>' for s in chosen),
        # "<" must not end the script element that holds the data.
        "data": data.replace("<", "\\u003c"),
        "css": _asset("page.css"),
        "js": "\n".join(_asset(name) for name in ("page.js", "page_curves.js", "page_charts.js")),
    }
    return string.Template(_asset("page.html")).substitute(parts)


def _sections(study: StudyTable, found: list[SettingEvidence], tables: dict[str, Table]) -> list[Section]:
    return [
        _convergence(study, found, tables),
        _less_data(study, found, tables),
        _overfitting(study, tables),
        _metrics(study, found, tables),
        Section("predictions", "Predictions side by side", examples_html(study, found), {}),
        _cost(study, found, tables),
        _beside(study, found, tables),
        Section("methods", "Methods", methods_html(study, found), {}),
        Section("trials", "Every trial", trials_html(study), {}),
    ]


def _convergence(study: StudyTable, found: list[SettingEvidence], tables: dict[str, Table]) -> Section:
    body = (
        "<p>Does training longer from random init reach what pre-training reaches? Each line is one trial. Trials of "
        "one init share their beginning and part where the learning rate drops, which gives AP its last leap. Hover "
        "for numbers, drag to zoom, switch lines on and off.</p>"
        + figure("ap", "ap", "AP on the validation pictures over iterations")
    )
    charts = {}
    lines = differences(found)
    if lines:
        title = "Random − pre-trained at each schedule"
        charts["deltas"] = interval_chart("deltas", title, f"Δ {study.leading.name} (shaded: within 1 AP)", lines)
        body += figure("deltas", "intervals", title)
    body += _tables(tables, "final", "crossover", "converged", "reach", "leaps")
    return Section("convergence", "Convergence", body, charts)


def _less_data(study: StudyTable, found: list[SettingEvidence], tables: dict[str, Table]) -> Section:
    gaps = data_gaps(study, found)
    if not gaps:
        return Section("data", "Less data", "", {})
    title = "Random − pre-trained by data size, each at its best schedule"
    lines = [(one.setting[2], gap) for one, gap in reversed(gaps.values())]
    chart = interval_chart("sizes", title, f"Δ {study.leading.name}", lines)
    is_images = not study.trials["train_images"].isna().any()
    words = f"{break_even_words(gaps)} {break_even_size_words(gaps, is_images)}"
    body = (
        f"<p>{html.escape(words)}</p><p>The paper calls it a <b>break-down</b> when random init "
        "learns its training pictures as well as pre-trained init does, yet finds less on new ones: it has fitted, not "
        "understood. The last column of the table says where this signature shows.</p>"
    ) + figure("sizes", "intervals", title)
    return Section("data", "Less data", body + _tables(tables, "data"), {"sizes": chart})


def _overfitting(study: StudyTable, tables: dict[str, Table]) -> Section:
    if "loss" not in study.rows or not len(study.rows):
        return Section("overfitting", "Over-fitting", "", {})
    body = (
        f"<p>{html.escape(overfitting_words(study))} A model over-fits when its training loss keeps falling while its "
        "validation loss rises. The two losses are different means: compare their distance between trials, and do not "
        "read it as an absolute.</p>" + figure("loss", "loss", "Training and validation loss over iterations")
    )
    if TRAIN_AP in study.rows:
        body += (
            "<p>The same in AP: on a fixed part of the training pictures (dotted), scored as the validation pictures "
            "(solid) are. A detector that knows its training pictures by heart has the two far apart.</p>"
        ) + figure("fit", "fit", "Box AP on training and on validation pictures over iterations")
    return Section("overfitting", "Over-fitting", body + _tables(tables, "overfitting"), {})


def _metrics(study: StudyTable, found: list[SettingEvidence], tables: dict[str, Table]) -> Section:
    body, charts = _tables(tables, "metrics"), {}
    objects, measure = ("keypoints", "OKS") if study.leading is KEYPOINT else ("boxes", "IoU")
    for position, one in enumerate(found):
        ious = [(f"{measure} {iou:.2f}", gap) for iou, gap in iou_deltas(one)]
        if ious:
            key = f"ious-{position}"
            where = f" ({one.label})" if len(found) > 1 else ""
            question = f"Does pre-training help less where {objects} must be sharper?"
            title = f"{question} By {measure} at {one.end_label}{where}"
            charts[key] = interval_chart(key, title, f"Δ {matched_kind(study.leading)} AP", ious)
            body += figure(key, "intervals", title)
    return Section("metrics", "Metrics", body + _tables(tables, "categories"), charts)


def _cost(study: StudyTable, found: list[SettingEvidence], tables: dict[str, Table]) -> Section:
    chart = exposure_chart(study, found, "pixels_nominal" if repeats_paper(study) else "pixels_measured")
    body, charts = "", {}
    if chart["groups"][0]["rows"]:
        charts["exposure"] = chart
        body += (
            "<p>Training longer from scratch is not free, but neither is pre-training: what each arm has seen, its "
            "pre-training (lighter) included.</p>" + figure("exposure", "bars", chart["title"])
        )
    return Section("cost", "Cost and exposure", body + _tables(tables, "exposure", "cost"), charts)


def _beside(study: StudyTable, found: list[SettingEvidence], tables: dict[str, Table]) -> Section:
    if "paper" not in tables:
        return Section("paper", "The paper beside it", "", {})
    text = (
        "Rethinking ImageNet Pre-training (He, Girshick, Dollár, ICCV 2019) found on COCO that random init catches up "
        "when it trains long enough, and breaks down somewhere between 3,500 and 10,000 pictures."
    )
    if repeats_paper(study):
        systems = ", ".join(f"{name} {ap}" for name, ap in FROM_SCRATCH.items())
        text += f" Earlier systems trained from scratch, box AP: {systems}."
    else:
        text += " This study is on other data, so that levels do not compare; the shape over schedules does."
    body, charts = f"<p>{html.escape(text)}</p>", {}
    for position, one in enumerate(found):
        lines = beside(one.lines, *one.setting[:2])
        if not lines:
            continue
        key = f"beside-{position}"
        where = f" ({one.label})" if len(found) > 1 else ""
        title = f"Random − pre-trained: this study (dot) and the paper (diamond){where}"
        by_schedule = {line.schedule: one.deltas[line.total] for line in one.both}
        chart = interval_chart(key, title, "Δ box AP", [(line.schedule, by_schedule[line.schedule]) for line in lines])
        for row, line in zip(chart["rows"], lines, strict=True):
            row["other"] = round(line.paper, 2)
        charts[key] = chart
        body += figure(key, "intervals", title)
        break
    return Section("paper", "The paper beside it", body + _tables(tables, "paper", "paper_data"), charts)


def figure(key: str, kind: str, title: str, setting: int = 0) -> str:
    """The frame of a chart, which page.js fills; ``setting`` is the one that curves begin with."""
    escaped = html.escape(title, quote=True)
    return (
        f'<figure class="chart" id="{key}" data-kind="{kind}" data-setting="{setting}" data-title="{escaped}">'
        f"<figcaption>{escaped}</figcaption></figure>"
    )


def _tables(tables: dict[str, Table], *names: str) -> str:
    return "".join(tables[name].to_html() for name in names if name in tables)


def _asset(name: str) -> str:
    return importlib.resources.files("analysis").joinpath(name).read_text(encoding="utf-8")
