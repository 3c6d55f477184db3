"""What the page's charts draw, as JSON-ready data; the drawing is page.js."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.arms import NAMES, SETTING
from analysis.crossover import DEFAULT_TOLERANCE
from analysis.evidence import SettingEvidence
from analysis.exposure import exposure_lines
from analysis.load import StudyTable
from analysis.metrics import METRICS
from analysis.paper import FROM_SCRATCH, overlay, repeats_paper
from analysis.statistics import Interval

Json = dict[str, Any]

MAX_POINTS = 40_000
"""Points of all curves of the page together: above it, curves are thinned, their ends kept. Some 3 MB."""

CURVE_METRICS = ("box_ap", "mask_ap", "box_ap50", "box_ap75", "keypoint_ap50", "keypoint_ap75", "voc07_ap")
"""After the leading one."""


TRAIN_AP = "train_box_ap"
"""Box AP on a fixed part of the training set, where the study has measured it."""


def curves(study: StudyTable, found: list[SettingEvidence]) -> Json:
    """Every trial's curves as parts of segments, each of which is stored once.

    A trial is a list of [segment, first iteration (exclusive), last iteration]; a segment has ``val`` and ``train``,
    each with ``x`` (iterations) and one list per metric.
    """
    every = max(1, math.ceil(len(study.rows) / MAX_POINTS))
    metrics = [name for name in dict.fromkeys((study.leading.column, *CURVE_METRICS)) if name in study.rows]
    fits = [name for name in (TRAIN_AP,) if name in study.rows]
    numbers = {segment_id: position for position, segment_id in enumerate(study.segments.index)}
    segments: list[Json] = [{} for _ in numbers]
    unique = study.rows.drop_duplicates(["segment_id", "split", "iteration"]) if len(study.rows) else study.rows
    for (segment_id, split), part in unique.groupby(["segment_id", "split"], observed=True):
        keys = ["loss"] if split == "train" else [*metrics, *fits, "loss"]
        segments[numbers[str(segment_id)]][str(split)] = _series(part, keys, every)
    return {
        "metrics": [[name, METRICS[name]] for name in metrics],
        "segments": segments,
        "settings": [_setting(study, one, numbers) for one in found],
    }


def side_by_side(first: Json, second: Json) -> Json:
    """The curves of two studies as one set: the second's segments are numbered after the first's."""
    offset = len(first["segments"])
    for setting in second["settings"]:
        for trial in setting["trials"]:
            trial["parts"] = [[number + offset, start, end] for number, start, end in trial["parts"]]
    metrics = [metric for metric in first["metrics"] if metric in second["metrics"]] or first["metrics"]
    segments, settings = first["segments"] + second["segments"], first["settings"] + second["settings"]
    return {"metrics": metrics, "segments": segments, "settings": settings}


def interval_chart(
    chart: str, title: str, label: str, lines: Sequence[tuple[str, Interval]], band: float = DEFAULT_TOLERANCE
) -> Json:
    """Estimates with whiskers, one a line; ``band`` shades ± that many AP around 0."""
    rows = [{"label": name, **_interval(gap)} for name, gap in lines if not math.isnan(gap.value)]
    return {"id": chart, "kind": "intervals", "title": title, "label": label, "rows": rows, "band": band}


def exposure_chart(study: StudyTable, found: list[SettingEvidence], pixels: str) -> Json:
    """Figure 2 of the paper for the first setting; ``pixels`` is the kind of pixels that is drawn."""
    lines = exposure_lines(study, SETTING)
    first = found[0].setting if found else ()
    chosen = [line for line in lines if line.setting == first]
    groups = []
    for kind, name in (("images", "images"), ("instances", "instances"), (pixels, "pixels")):
        rows = [
            {
                "label": f"{NAMES[line.init]}, {line.schedule}" + ("" if line.is_told else " + ?"),
                "init": line.init,
                "parts": [line.pretraining.get(kind, 0.0), line.detection[kind]],
            }
            for line in chosen
        ]
        groups.append({"title": name, "rows": rows})
    title = "Seen by each arm: pre-training and detection"
    return {"id": "exposure", "kind": "bars", "title": title, "parts": ["pre-training", "detection"], "groups": groups}


def _setting(study: StudyTable, one: SettingEvidence, numbers: dict[str, int]) -> Json:
    mask = (study.trials[list(SETTING)].astype(str) == list(one.setting)).all(axis=1)
    trials = []
    for trial_id, line in study.trials[mask].iterrows():
        refs = [ref for ref in study.records[str(trial_id)].segments if ref.segment_id in numbers]
        parts = [[numbers[ref.segment_id], ref.start, ref.end] for ref in refs]
        if refs and refs[-1].is_evaluation:  # its one row takes the place of the last one of the training
            parts[-2][2], parts[-1][1] = refs[-1].end - 1, refs[-1].end - 1
        if parts:
            own = {"id": str(trial_id), "init": line["init"], "schedule": line["schedule"], "seed": int(line["seed"])}
            trials.append({**own, "drops": _drops(study, str(trial_id)), "parts": parts})
    paper = overlay(one.setting[0], one.setting[1]) if repeats_paper(study) else []
    return {
        "label": one.label,
        "unit": study.unit,
        "trials": sorted(trials, key=lambda t: (t["init"], t["parts"][-1][2])),
        "references": [[name, ap] for name, ap in FROM_SCRATCH.items()] if paper else [],
        "paper": [
            {"init": c.init, "schedule": c.schedule, "figure": c.figure, "x": c.iterations, "y": c.values}
            for c in paper
        ],
    }


def _drops(study: StudyTable, trial_id: str) -> list[int]:
    schedule = study.specs[trial_id]["schedule"]
    return [int(schedule["total"] - drop["before_end"]) for drop in schedule["drops"]]


def _series(part: pd.DataFrame, keys: list[str], every: int) -> Json:
    keep = np.arange(len(part)) % every == (len(part) - 1) % every
    part = part[keep]
    return {"x": part["iteration"].tolist(), **{key: _rounded(part[key].tolist()) for key in keys}}


def _rounded(values: list[float]) -> list[float | None]:
    return [None if math.isnan(value) else float(f"{value:.4g}") for value in values]


def _interval(gap: Interval) -> Json:
    known = {"low": round(gap.low, 3), "high": round(gap.high, 3)} if gap.is_known else {}
    return {"value": round(gap.value, 3), **known}
