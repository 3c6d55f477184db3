"""Pictures and tables beside a trial's rows in Weights & Biases, made from what the storage keeps.

Pictures are the first of the kept examples (``raystudy.evaluation.examples``): the same validation pictures for every
trial of a study, with the annotated objects and what was found at that evaluation. They are kept with the checkpoint
that commits the row, so that they can be shown again after a kill, or in runs that are built anew.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from raystudy import atomic
from raystudy.cluster.tracked_runs import AXIS, TrackedRun
from raystudy.evaluation.matches import Matches, average_precisions, precision_and_recall
from raystudy.records import EvalRow, Row
from raystudy.store import Store

LOGGER = logging.getLogger(__name__)

NUM_PICTURES = 4
"""Of an evaluation. A trial of 90,000 iterations with an evaluation at every 5,000 shows 6 times as many."""

PICTURE_KEYS = tuple(f"examples/{number}" for number in range(1, NUM_PICTURES + 1))
TABLE_KEY = "categories"


def with_media(
    point: dict[str, Any], rows: Sequence[Row], run: TrackedRun, store: Store | None, started: wandb.Run | None = None
) -> dict[str, Any]:
    """The point with the pictures and the table that belong to its iteration; what cannot be made is told and left out.

    Args:
        point: of one iteration; it is not changed.
        rows: at least those of that iteration.
        run: only trials have media.
        store: None has none.
        started: the run that the point is logged to; None leaves the table out.
    """
    if store is None or not run.is_trial:
        return point
    iteration = point[AXIS]
    found: dict[str, Any] = {}
    for row in rows:
        if row.iteration == iteration and isinstance(row, EvalRow):
            try:
                found |= _pictures(store, row)
                found |= _table(store, row, started) if iteration == run.end and started is not None else {}
            except Exception as error:  # a broken picture costs neither the row nor the trial
                LOGGER.warning(
                    "%s: no pictures of iteration %d (%s: %s)", run.run_id, iteration, type(error).__name__, error
                )
    return {**point, **found}


def _pictures(store: Store, row: EvalRow) -> dict[str, wandb.Image]:
    segment = store.segment(row.segment_id)
    place = segment.examples(row.iteration)
    if place is None:
        return {}
    folder = segment.files.fetch(place)
    content = atomic.read_json(folder / "examples.json")
    names: dict[int, str] = dict(enumerate(content["categories"], 1))
    chosen = content["pictures"][:: max(1, len(content["pictures"]) // NUM_PICTURES)]
    return {key: _picture(folder, record, names) for key, record in zip(PICTURE_KEYS, chosen, strict=False)}


def _picture(folder: Path, record: Mapping[str, Any], names: dict[int, str]) -> wandb.Image:
    """One picture, with layers that can be switched: annotated objects, and detections with their scores."""
    layers = {"ground_truth": record["objects"], "predictions": record["detections"]}
    boxes = {
        layer: {"box_data": [_box(instance) for instance in instances], "class_labels": names}
        for layer, instances in layers.items()
    }
    size = (record["height"], record["width"])
    masks = {
        layer: {"mask_data": mask_of(instances, size), "class_labels": names}
        for layer, instances in layers.items()
        if any(instance["outline"] for instance in instances)
    }
    return wandb.Image(str(folder / record["file"]), caption=record["name"], boxes=boxes, masks=masks or None)


def _box(instance: Mapping[str, Any]) -> dict[str, Any]:
    left, top, right, bottom = instance["box"]
    found: dict[str, Any] = {
        "position": {"minX": left, "minY": top, "maxX": right, "maxY": bottom},
        "domain": "pixel",
        "class_id": instance["label"],
        "box_caption": instance["category"],
    }
    if "score" in instance:
        found["scores"] = {"score": instance["score"]}
        found["box_caption"] = f"{instance['category']} {instance['score']:.2f}"
    return found


def mask_of(instances: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The label of each pixel, 0 where nothing is; where outlines overlap, the earlier instance is on top.

    Args:
        instances: with ``outline`` (rings filled by the even-odd rule) and ``label``.
        size: height and width, pixels.
    """
    labels = np.zeros(size, dtype=np.uint8)
    for instance in reversed(instances):
        filled = np.zeros(size, dtype=bool)
        for ring in instance["outline"] or ():
            canvas = Image.new("1", (size[1], size[0]))
            ImageDraw.Draw(canvas).polygon(ring, fill=1)
            filled ^= np.asarray(canvas)
        labels[filled] = min(instance["label"], 255)  # wandb keeps masks as 8 bits a pixel
    return labels


def _table(store: Store, row: EvalRow, started: wandb.Run) -> dict[str, wandb.Table]:
    """AP of every category, from the matches that were kept at the trial's end.

    The table is bound to the run here, as a file. Left to ``log``, wandb would make an artifact of it besides, and ask
    the server for that at once: in an outage that call fails, and takes the row with it.
    """
    segment = store.segment(row.segment_id)
    place = segment.matches(row.iteration)
    if place is None:
        return {}
    folder = segment.files.fetch(place)
    kinds = {kind: folder / f"{kind}.npz" for kind in ("box", "mask", "keypoint")}
    scored = {kind: Matches.load(path) for kind, path in kinds.items() if path.is_file()}
    if not scored:
        return {}
    shown = segment.examples(row.iteration)
    described = None if shown is None else segment.files.read_in(shown, "examples.json")
    boxes = scored["box"]
    unnamed = [str(number) for number in boxes.category_ids.tolist()]
    names = unnamed if described is None else json.loads(described)["categories"]
    instances = np.bincount(boxes.object_category[~boxes.object_ignored[0]], minlength=len(names)).tolist()
    columns: list[str] = ["category"]
    values: list[list[Any]] = [list(names)]
    for kind, matches in scored.items():
        for name, per_category in category_aps(matches).items():
            columns.append(f"{kind}_{name}")
            values.append(per_category)
    data: Any = [list(line) for line in zip(*values, instances, strict=True)]
    table = wandb.Table(columns=[*columns, "instances"], data=data)
    table.bind_to_run(started, TABLE_KEY, row.iteration)  # type: ignore[no-untyped-call]
    return {TABLE_KEY: table}


def category_aps(matches: Matches) -> dict[str, list[float | None]]:
    """``ap`` and ``ap50`` of each category in percent; None without any object."""
    precision, _ = precision_and_recall(matches)
    found: dict[str, list[float | None]] = {"ap": [], "ap50": []}
    for category in range(len(matches.category_ids)):
        averages = average_precisions(precision[:, :, category : category + 1])
        for name, values in found.items():
            values.append(None if np.isnan(averages[name]) else averages[name])
    return found
