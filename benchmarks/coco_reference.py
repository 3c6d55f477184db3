"""COCOeval's numbers for simulated detections, and the same detections as stored matches."""

import contextlib
import copy
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from analysis.bootstrap import StoredMatches, read_matches
from raystudy.evaluation.matches import Ints, Matches
from raystudy.evaluation.matching import Found, Objects, match

Json = dict[str, Any]


def cocoeval_ap(truth: Json, found: list[Json]) -> NDArray[np.float64]:
    """AP of every category and IoU threshold in percent [A, K, T], by pycocotools; nan without objects."""
    coco = COCO()
    coco.dataset = copy.deepcopy(truth)
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(copy.deepcopy(found)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., -1]
    ap = np.where(precision[:, 0] > -1, precision.mean(axis=1), np.nan)
    reference: NDArray[np.float64] = 100 * ap.transpose(2, 1, 0)
    return reference


def stored_matches(truth: Json, found: list[Json], folder: Path) -> StoredMatches:
    """The matches of all pictures, written as an evaluation writes them and read back as the analysis does."""
    path = folder / "matches.npz"
    all_matches(truth, found).save(path)
    return read_matches(path.read_bytes(), path.name)


def all_matches(truth: Json, found: list[Json]) -> Matches:
    """The matches of all pictures, by the project's own matcher."""
    annotations = sorted(truth["annotations"], key=lambda one: (one["category_id"], one["image_id"]))
    boxes = np.array([one["bbox"] for one in found]).reshape(-1, 4)
    truth_boxes = np.array([one["bbox"] for one in annotations]).reshape(-1, 4)
    is_crowd = np.array([one["iscrowd"] for one in annotations], dtype=bool)

    def ious(detection: Ints, obj: Ints) -> NDArray[np.float64]:
        a, b = boxes[detection], truth_boxes[obj]
        size = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
        common = np.where((size > 0).all(axis=1), size.prod(axis=1), 0.0)
        own, other = a[:, 2:].prod(axis=1), b[:, 2:].prod(axis=1)
        iou: NDArray[np.float64] = common / np.where(is_crowd[obj], own, own + other - common)
        return iou

    return match(
        Found(
            category=np.array([one["category_id"] - 1 for one in found], dtype=np.int64),
            image=np.array([one["image_id"] - 1 for one in found], dtype=np.int64),
            scores=np.array([one["score"] for one in found], dtype=np.float64),
            area=boxes[:, 2:].prod(axis=1),
        ),
        Objects(
            category=np.array([one["category_id"] - 1 for one in annotations], dtype=np.int64),
            image=np.array([one["image_id"] - 1 for one in annotations], dtype=np.int64),
            area=np.array([one["area"] for one in annotations], dtype=np.float64),
            is_crowd=is_crowd,
        ),
        ious,
        np.arange(1, len(truth["images"]) + 1),
        np.arange(1, len(truth["categories"]) + 1),
        100,
    )
