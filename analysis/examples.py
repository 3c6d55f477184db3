"""Predictions side by side: the same validation pictures as both inits see them, for eyes beside the numbers.

Read from ``examples/<iteration>/`` of the trials' last segments, which ``raystudy.evaluation.examples`` writes and
documents. The pictures lie in the page once, whatever number of panels shows them.
"""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.arms import NAMES
from analysis.evidence import SettingEvidence
from analysis.files import StorageReader
from analysis.load import StudyTable

EXAMPLES_VERSION = 1
MIN_SCORE = 0.5
"""Of a detection that is shown."""

MIN_IOU = 0.5
"""With an object of its category, at which a detection counts as right here."""

MAX_BYTES = 2_000_000
"""Of all pictures together, before base64 makes them a third larger."""

MAX_PICTURES = 6
MAX_SETTINGS = 3
"""More settings than this are shown by the first, the last and those between at equal distances."""

Json = dict[str, Any]
Box = Sequence[float]


@dataclass(frozen=True)
class Judged:
    """Detections of one picture against its objects: right, wrong, and objects that nobody found."""

    right: list[Json]
    wrong: list[Json]
    missed: list[Json]


def judge(objects: Sequence[Json], detections: Sequence[Json]) -> Judged:
    """Best score first, each detection takes the free object of its category that it overlaps most, from 0.5 on."""
    free, right, wrong = list(objects), [], []
    for one in (d for d in detections if d["score"] >= MIN_SCORE):
        own = [other for other in free if other["label"] == one["label"]]
        best = max(own, key=lambda other: iou(one["box"], other["box"]), default=None)
        if best is not None and iou(one["box"], best["box"]) >= MIN_IOU:
            free.remove(best)
            right.append(one)
        else:
            wrong.append(one)
    return Judged(right, wrong, free)


def iou(first: Box, second: Box) -> float:
    """Intersection over union of two boxes x1, y1, x2, y2."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return width * height / (sum(areas) - width * height)


def read_examples(study: StudyTable, trial_id: str) -> tuple[str, Json] | None:
    """The folder of a trial's pictures and the content of its ``examples.json``; None when there are none."""
    segments = study.records[trial_id].segments
    if not segments:
        return None
    reader = StorageReader(study.storage)
    place = reader.segment(segments[-1].segment_id).examples(segments[-1].end)
    described = reader.read_in(place, "examples.json")
    content = None if described is None else json.loads(described)
    return None if place is None or content is None or content.get("version") != EXAMPLES_VERSION else (place, content)


def category_names(study: StudyTable, one: SettingEvidence) -> list[str]:
    """Names of the categories in the order of their labels; empty where no trial of the setting kept examples."""
    for trial_id in one.trial_ids.values():
        found = read_examples(study, trial_id)
        if found is not None:
            return [str(name) for name in found[1]["categories"]]
    return []


def examples_html(study: StudyTable, found: Sequence[SettingEvidence]) -> str:
    """The section's body; empty where no pair of trials kept the same pictures."""
    pairs = [(one, pair) for one in found if (pair := _pair(study, one)) is not None]
    if len(pairs) > MAX_SETTINGS:
        pairs = [pairs[round(i * (len(pairs) - 1) / (MAX_SETTINGS - 1))] for i in range(MAX_SETTINGS)]
    stored: dict[int, str] = {}
    pictures: list[str] = []
    body, left = "", MAX_BYTES
    for one, pair in pairs:
        blocks = []
        for index in range(len(pair["random"][1]["pictures"])):
            records = {init: content["pictures"][index] for init, (_, content) in pair.items()}
            image_id = int(records["random"]["image_id"])
            if image_id not in stored:
                content = _jpeg(study, pair["random"][0], records["random"])
                if content is None or len(stored) >= MAX_PICTURES or len(content) > left:
                    continue
                left -= len(content)
                stored[image_id] = f"picture-{len(stored)}"
                pictures.append(_image(stored[image_id], records["random"], content))
            blocks.append(_block(stored[image_id], records))
        title = f"<h3>{html.escape(one.label)}, {one.end_label}</h3>" if len(found) > 1 else ""
        body += title + "".join(blocks) if blocks else ""
    if not body:
        return ""
    return f"{_INTRODUCTION}<svg width='0' height='0' aria-hidden='true'><defs>{''.join(pictures)}</defs></svg>{body}"


_INTRODUCTION = (
    "<p>The same validation pictures, as both inits see them at the end of the longest schedule (first seed). They "
    "were chosen before training, evenly over the validation set, and not for what they show.</p>"
    "<p class='keys'><span class='key right'>right</span><span class='key wrong'>wrong</span>"
    "<span class='key missed'>missed</span> Detections with a score of 0.5 or more; right means the right category and "
    "a box that overlaps the annotated one by half (IoU 0.5). Hover for names and scores.</p>"
)


def _pair(study: StudyTable, one: SettingEvidence) -> dict[str, tuple[str, Json]] | None:
    """Init -> folder and content, of the first seed that both have at the longest schedule of both."""
    if not one.ends:
        return None
    for seed in sorted({seed for _, _, seed in one.trial_ids}):
        ids = {init: one.trial_ids.get((init, one.ends[init], seed)) for init in NAMES}
        found = {init: read_examples(study, i) if i is not None else None for init, i in ids.items()}
        kept = {init: pair for init, pair in found.items() if pair is not None}
        if (
            len(kept) == len(NAMES)
            and len({tuple(p["image_id"] for p in c["pictures"]) for _, c in kept.values()}) == 1
        ):
            return kept
    return None


def _jpeg(study: StudyTable, folder: str, record: Json) -> bytes | None:
    return StorageReader(study.storage).read_in(folder, str(record["file"]))


def _image(key: str, record: Json, content: bytes) -> str:
    data = base64.b64encode(content).decode()
    size = f'width="{record["width"]}" height="{record["height"]}"'
    return f'<image id="{key}" {size} href="data:image/jpeg;base64,{data}"/>'


def _block(key: str, records: Mapping[str, Json]) -> str:
    some = next(iter(records.values()))
    objects = some["objects"]
    panels = [_panel(key, some, f"annotated: {_count(len(objects), 'object')}", [(one, "truth") for one in objects])]
    for init, record in records.items():
        judged = judge(record["objects"], record["detections"])
        words = f"{NAMES[init]}: {len(judged.right)} of {len(objects)} found, {len(judged.wrong)} wrong"
        shapes = [(one, "missed") for one in judged.missed] + [(one, "wrong") for one in judged.wrong]
        panels.append(_panel(key, record, words, [*shapes, *((one, "right") for one in judged.right)]))
    return f"<div class='panels' tabindex='0'>{''.join(panels)}</div>"


def _panel(key: str, record: Json, words: str, shapes: Sequence[tuple[Json, str]]) -> str:
    drawn = "".join(_shape(one, kind, record["width"]) for one, kind in shapes)
    view = f"0 0 {record['width']} {record['height']}"
    label = html.escape(words, quote=True)
    return (
        f'<figure class="panel"><svg viewBox="{view}" role="img" aria-label="{label}"><use href="#{key}"/>{drawn}</svg>'
        f"<figcaption>{label}</figcaption></figure>"
    )


def _shape(one: Json, kind: str, width: int) -> str:
    x1, y1, x2, y2 = one["box"]
    score = f" {one['score']:.2f}" if "score" in one else ""
    title = f"<title>{html.escape(str(one['category']))}{score}</title>"
    shape = f'<rect x="{x1}" y="{y1}" width="{max(0, x2 - x1):.1f}" height="{max(0, y2 - y1):.1f}"/>'
    if one.get("outline") and kind != "missed":
        shape += f'<path d="{_path(one["outline"])}"/>'
    points = one.get("keypoints") or []
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="{max(1.5, width / 160):.1f}"/>' for x, y, v in points if v > 0)
    return f'<g class="shape {kind}">{title}{shape}{dots}</g>'


def _path(rings: Sequence[Sequence[int]]) -> str:
    return "".join("M" + " ".join(map(str, ring)) + "Z" for ring in rings)


def _count(number: int, name: str) -> str:
    return f"{number} {name}" + ("" if number == 1 else "s")
