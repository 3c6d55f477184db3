"""PASCAL VOC's average precision: of 2010 and later (area under the curve) and of 2007 (11 points).

The rule is that of the devkit's ``VOCevaldet.m`` and ``VOCap.m``: detections of a category, best score first over all
pictures, each look at the one object of their picture that they overlap most (the first of equals), taken or not. At
IoU 0.5 or more the first to come is right and every later one is wrong; on a difficult object a detection counts
neither way; all others are wrong. Difficult objects need not be found.

The devkit counts pixels: boxes are 1-based and inclusive, and a side is ``max - min + 1``. In our coordinates such a
box lies from ``min - 1`` to ``max``, so that sides, areas and IoU are the devkit's without the ``+ 1``. Detections
are compared as they are, not rounded to pixels. Equal scores go in the order of image ids, then of the detector.
"""

from dataclasses import dataclass

import numpy as np

from raystudy.evaluation.coco import CocoEvaluator, Gathered, Result
from raystudy.evaluation.ground_truth import GroundTruth
from raystudy.evaluation.ious import box_ious
from raystudy.evaluation.matches import Bools, Ints
from raystudy.evaluation.matching import pairs

MIN_IOU = 0.5
"""``VOCopts.minoverlap``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CategoryPrecision:
    """Average precision of one category, in percent; nan when it has no object that must be found."""

    area: float
    """2010 and later: area under the precision envelope."""

    eleven_points: float
    """2007: mean of the best precision at recall 0, 0.1, … 1 and beyond."""

    num_objects: int
    """Objects that are not difficult."""


class VocEvaluator(CocoEvaluator):
    """COCO's metrics, and the means over categories of VOC's AP: ``voc_ap`` of 2010 and later, ``voc07_ap`` of 2007.

    An annotation is difficult when its field ``ignore`` is 1, or when it is a crowd. COCO's metrics know no difficult
    objects, as in pycocotools.
    """

    def evaluate(self, results: list[Result] | None = None) -> dict[str, float]:
        """As ``CocoEvaluator.evaluate``, with ``voc_ap`` and ``voc07_ap`` in percent."""
        chosen = self.one_each(results)
        metrics = super().evaluate(chosen)
        self._precisions = category_precisions(self.gather(chosen), self.truth)
        measured = [one for one in self._precisions.values() if one.num_objects]
        area = float(np.mean([one.area for one in measured])) if measured else float("nan")
        eleven_points = float(np.mean([one.eleven_points for one in measured])) if measured else float("nan")
        return {**metrics, "voc_ap": area, "voc07_ap": eleven_points}

    def category_precisions(self) -> dict[int, CategoryPrecision]:
        """Of the last ``evaluate``, by category id."""
        return self._precisions


def category_precisions(found: Gathered, truth: GroundTruth) -> dict[int, CategoryPrecision]:
    """VOC's AP of every category, by its id."""
    is_right, is_wrong = _judge(found, truth)
    in_order = np.lexsort((-found.scores, found.category))
    bounds = np.searchsorted(found.category[in_order], np.arange(len(truth.category_ids) + 1))
    wanted = truth.objects.category[~truth.is_difficult]
    num_objects = np.bincount(wanted, minlength=len(truth.category_ids)).tolist()
    result = {}
    for index, category_id in enumerate(truth.category_ids.tolist()):
        mine = in_order[bounds[index] : bounds[index + 1]]
        result[category_id] = _average(is_right[mine], is_wrong[mine], num_objects[index])
    return result


def _judge(found: Gathered, truth: GroundTruth) -> tuple[Bools, Bools]:
    """Which detections are right [D] and which wrong [D]; on a difficult object a detection is neither."""
    num_images = len(truth.image_ids)
    keys = found.category * num_images + found.image
    by_key = np.argsort(keys, kind="stable")
    detection, obj = pairs(keys[by_key], truth.objects.category * num_images + truth.objects.image)
    detection = by_key[detection]
    iou = box_ious(found.boxes[detection], truth.boxes[obj], np.zeros(len(obj), bool))
    best_first = np.lexsort((obj, -iou, detection))
    seen, position = np.unique(detection[best_first], return_index=True)
    best = best_first[position]
    taken = np.full(len(keys), -1, dtype=np.int64)
    taken[seen] = np.where(iou[best] >= MIN_IOU, obj[best], -1)
    is_on_difficult = (taken >= 0) & truth.is_difficult[taken] if len(truth.is_difficult) else np.zeros(len(keys), bool)
    is_right = _first_takers(taken, found) & ~is_on_difficult
    return is_right, ~is_right & ~is_on_difficult


def _first_takers(taken: Ints, found: Gathered) -> Bools:
    """The detections that are the first, by score, to take their object."""
    takers = np.flatnonzero(taken >= 0)
    takers = takers[np.argsort(-found.scores[takers], kind="stable")]
    _, first = np.unique(taken[takers], return_index=True)
    result = np.zeros(len(taken), bool)
    result[takers[first]] = True
    return result


def _average(is_right: Bools, is_wrong: Bools, num_objects: int) -> CategoryPrecision:
    """Both averages of one category's detections, best score first."""
    if num_objects == 0:
        return CategoryPrecision(area=float("nan"), eleven_points=float("nan"), num_objects=0)
    hits, misses = np.cumsum(is_right), np.cumsum(is_wrong)
    precision = hits / np.maximum(hits + misses, 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    # Recall in whole tenths of the objects: 3 of 10 reach 0.3, whatever rounding makes of either.
    first = np.searchsorted(hits * 10, np.arange(11) * num_objects, side="left")
    at_levels = np.append(envelope, 0.0)[first]
    return CategoryPrecision(
        area=100 * float(envelope[is_right].sum() / num_objects),
        eleven_points=100 * float(at_levels.mean()),
        num_objects=num_objects,
    )
