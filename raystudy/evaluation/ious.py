"""Intersection over union of many pairs, equal to pycocotools' ``iou``.

With a crowd the union is the detection's own area: any part of a crowd counts as a full hit.
"""

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as mask_api

from raystudy.evaluation.masks import Rle, areas
from raystudy.evaluation.matches import IOU_THRESHOLDS, Bools, Floats, Ints

MARGIN = 1e-6
"""Of the bound below which a pair's masks are not compared: far more than rounding, far less than matters."""


def box_ious(found: Floats, objects: Floats, is_crowd: Bools) -> Floats:
    """IoU of box ``found[i]`` with box ``objects[i]``, both float64 [P, 4] xywh."""
    overlap = _overlap(found, objects)
    found_area, object_area = found[:, 2] * found[:, 3], objects[:, 2] * objects[:, 3]
    union = np.where(is_crowd, found_area, found_area + object_area - overlap)
    # Without overlap the union may be 0, and the result is 0 all the same.
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=overlap > 0)


def mask_ious(
    found: Ints, objects: Ints, found_rles: Sequence[Rle], object_rles: Sequence[Rle], is_crowd: Bools
) -> Floats:
    """IoU of mask ``found_rles[found[i]]`` with ``object_rles[objects[i]]``.

    0 stands for pairs that cannot reach the lowest threshold, because their boxes or areas do not allow it: most of
    all pairs. The rest are compared in pycocotools, runs of pairs with the same object together.
    """
    result = np.zeros(len(found))
    if len(found) == 0:
        return result
    possible = _possible(found, objects, found_rles, object_rles, is_crowd)
    order = possible[np.argsort(objects[possible], kind="stable")]
    cuts = np.flatnonzero(np.diff(objects[order])) + 1
    for pairs in np.split(order, cuts):
        if len(pairs) == 0:
            continue
        obj = int(objects[pairs[0]])
        rles = [found_rles[index] for index in found[pairs].tolist()]
        result[pairs] = mask_api.iou(rles, [object_rles[obj]], [int(is_crowd[obj])])[:, 0]
    return result


def _possible(
    found: Ints, objects: Ints, found_rles: Sequence[Rle], object_rles: Sequence[Rle], is_crowd: Bools
) -> Ints:
    """The pairs that may reach the lowest threshold: the overlap is at most that of the boxes and the lesser area."""
    found_area, found_box = _area_and_box(found_rles, found)
    object_area, object_box = _area_and_box(object_rles, objects)
    overlap = np.minimum(_overlap(found_box, object_box), np.minimum(found_area, object_area))
    union = np.where(is_crowd[objects], found_area, found_area + object_area - overlap)
    chosen: Ints = np.flatnonzero((overlap > 0) & (overlap >= (IOU_THRESHOLDS[0] - MARGIN) * union))
    return chosen


def _area_and_box(rles: Sequence[Rle], chosen: Ints) -> tuple[Floats, Floats]:
    """Area [P] and enclosing xywh box [P, 4] of ``rles[chosen]``, pixels."""
    unique, inverse = np.unique(chosen, return_inverse=True)
    used = [rles[index] for index in unique.tolist()]
    boxes = np.asarray(mask_api.toBbox(used), dtype=np.float64).reshape(-1, 4)
    return areas(used)[inverse], boxes[inverse]


def _overlap(first: Floats, second: Floats) -> Floats:
    """Area [P] that the boxes of each pair share; xywh."""
    low = np.maximum(first[:, :2], second[:, :2])
    high = np.minimum(first[:, :2] + first[:, 2:], second[:, :2] + second[:, 2:])
    sides = np.maximum(high - low, 0.0)
    overlap: Floats = sides[:, 0] * sides[:, 1]
    return overlap
