"""COCO's greedy matching of detections to objects, for all categories, pictures, area ranges and thresholds at once.

The rule is ``COCOeval.evaluateImg``'s: detections of a category in a picture, best score first, each take the object
with the largest IoU that is left (the later one of equals); objects that are ignored only when no other fits;
crowds can be taken any number of times. Only the few detections that overlap an object by at least the lowest
threshold take part, so that one round of array operations serves a detection of every picture.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from raystudy.evaluation.matches import AREA_RANGES, IOU_THRESHOLDS, Bools, Floats, Ints, Matches, rank_in_group


@dataclass(slots=True, kw_only=True)
class Objects:
    """Ground truth of all pictures, sorted by category and picture, else in the order of the file."""

    category: Ints
    """[G], index of the category."""

    image: Ints
    """[G], index of the picture."""

    area: Floats
    """[G], as annotated, square pixels."""

    is_crowd: Bools
    """[G]."""

    is_ignored: Bools | None = None
    """[G], objects besides crowds that count neither way: a detection that takes one is ignored. None has none."""


@dataclass(slots=True, kw_only=True)
class Found:
    """Detections of all pictures, in any order of pictures."""

    category: Ints
    image: Ints
    scores: Floats
    area: Floats


Ious = Callable[[Ints, Ints], Floats]
"""IoU of detection ``d[i]`` with object ``g[i]`` (of equal category and picture): int64 [P], int64 [P] -> [P].

Pairs come sorted by picture and category. Below the lowest threshold any smaller value, such as 0, may stand for it.
"""


def match(found: Found, objects: Objects, ious: Ious, image_ids: Ints, category_ids: Ints, most: int) -> Matches:
    """Match at most ``most`` detections of a category in a picture."""
    num_images = len(image_ids)
    order = np.lexsort((-found.scores, found.category * num_images + found.image))
    keys = (found.category * num_images + found.image)[order]
    order = order[rank_in_group(keys) < most]
    keys = (found.category * num_images + found.image)[order]
    low, high = AREA_RANGES[:, :1], AREA_RANGES[:, 1:]
    object_ignored = objects.is_crowd | (objects.area < low) | (objects.area > high)
    if objects.is_ignored is not None:
        object_ignored |= objects.is_ignored
    detection, obj = pairs(keys, objects.category * num_images + objects.image)
    iou = ious(order[detection], obj)
    is_candidate = iou >= IOU_THRESHOLDS[0]
    candidates = detection[is_candidate], obj[is_candidate], iou[is_candidate]
    matched, took_ignored = _take(keys, *candidates, objects.is_crowd, object_ignored)
    outside = (found.area[order] < low) | (found.area[order] > high)
    return Matches(
        image_ids=image_ids,
        category_ids=category_ids,
        max_detections=most,
        detection_category=found.category[order],
        detection_image=found.image[order],
        scores=found.scores[order],
        matched=matched,
        ignored=np.where(matched, took_ignored, outside[:, None, :]),
        object_category=objects.category,
        object_image=objects.image,
        object_ignored=object_ignored,
    )


def pairs(detection_keys: Ints, object_keys: Ints) -> tuple[Ints, Ints]:
    """Every detection with every object of its key: two int64 [P], by detection, then object. Both are sorted."""
    first = np.searchsorted(object_keys, detection_keys, side="left")
    count = np.searchsorted(object_keys, detection_keys, side="right") - first
    detection = np.repeat(np.arange(len(detection_keys)), count)
    within = np.arange(len(detection)) - np.repeat(np.cumsum(count) - count, count)
    return detection, first[detection] + within


def _take(
    keys: Ints, detection: Ints, obj: Ints, iou: Floats, is_crowd: Bools, object_ignored: Bools
) -> tuple[Bools, Bools]:
    """What each detection took: ``matched`` and ``ignored`` [A, T, D], from its candidates (sorted by detection)."""
    num_areas, num_thresholds = len(AREA_RANGES), len(IOU_THRESHOLDS)
    matched = np.zeros((len(keys), num_areas, num_thresholds), bool)
    took_ignored = np.zeros_like(matched)
    taken = np.zeros((len(is_crowd) + 1, num_areas, num_thresholds), bool)
    # The last object stands for "none" where a detection has fewer candidates than others of its round.
    ignored = np.concatenate([object_ignored.T, np.zeros((1, num_areas), bool)])
    crowd = np.append(is_crowd, False)
    active, first, count = np.unique(detection, return_index=True, return_counts=True)
    rounds = rank_in_group(keys[active])
    by_round = np.argsort(rounds, kind="stable")
    ends = np.cumsum(np.bincount(rounds)) if len(rounds) else np.zeros(0, np.int64)
    for members in np.split(by_round, ends[:-1]):
        if len(members) == 0:
            continue
        slots = np.arange(count[members].max())
        is_real = slots < count[members, None]
        position = np.where(is_real, first[members, None] + slots, 0)
        chosen_obj = np.where(is_real, obj[position], len(is_crowd))
        chosen_iou = np.where(is_real, iou[position], -1.0)
        best, has_match = _best(chosen_iou, chosen_obj, taken, crowd, ignored)
        rows, areas, thresholds = np.nonzero(has_match)
        winner = chosen_obj[rows, best[rows, areas, thresholds]]
        taken[winner, areas, thresholds] = True
        matched[active[members][rows], areas, thresholds] = True
        took_ignored[active[members][rows], areas, thresholds] = ignored[winner, areas]
    return matched.transpose(1, 2, 0), took_ignored.transpose(1, 2, 0)


def _best(iou: Floats, obj: Ints, taken: Bools, crowd: Bools, ignored: Bools) -> tuple[Ints, Bools]:
    """Which of its candidates [N, S] each detection takes: their slot [N, A, T], and whether it takes any."""
    limits = np.minimum(IOU_THRESHOLDS, 1 - 1e-10)
    is_free = ~taken[obj] | crowd[obj][:, :, None, None]
    fits = is_free & (iou[:, :, None, None] >= limits)
    wanted = fits & ~ignored[obj][:, :, :, None]
    usable = np.where(wanted.any(axis=1, keepdims=True), wanted, fits)
    value = np.where(usable, iou[:, :, None, None], -1.0)
    # The last of equal IoUs, as COCOeval's loop finds it.
    best = value.shape[1] - 1 - np.argmax(value[:, ::-1], axis=1)
    has_any = np.asarray(usable.any(axis=1))
    return best, has_any
