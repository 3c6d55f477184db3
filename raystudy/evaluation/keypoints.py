"""Object keypoint similarity: what IoU is to boxes, for keypoints; equal to pycocotools' ``computeOks``."""

from collections.abc import Sequence

import numpy as np

from raystudy.errors import DataError
from raystudy.evaluation.matches import Floats

MAX_DETECTIONS = 20
"""Of a category in a picture that count. COCO's number (``COCOeval.Params.setKpParams``)."""

COCO_SIGMAS = (0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89)
"""How far annotators disagree on each of COCO's 17 keypoints, in tenths of the object's scale (ibidem)."""


def sigmas_for(num_keypoints: int, chosen: Sequence[float]) -> Floats:
    """The spread [K] of each keypoint: as chosen, else COCO's.

    Raises:
        DataError: there are not as many as keypoints.
    """
    sigmas = np.array(chosen, dtype=np.float64) if len(chosen) else np.array(COCO_SIGMAS, dtype=np.float64) / 10
    if len(sigmas) != num_keypoints:
        whose = "keypoint_sigmas names" if len(chosen) else "COCO's spreads are of"
        raise DataError(
            f"objects have {num_keypoints} keypoints, but {whose} {len(sigmas)}; give keypoint_sigmas of the "
            "evaluation, one a keypoint, as shares of the object's scale"
        )
    return sigmas


def similarities(found: Floats, objects: Floats, boxes: Floats, areas: Floats, sigmas: Floats) -> Floats:
    """OKS [P] of keypoints ``found[i]`` with those of ``objects[i]``, both [P, K, 3] (x, y, visibility or score).

    An object without any labelled keypoint counts all keypoints that lie within its box, doubled about its centre, as
    hits. Sums are over labelled keypoints only, in numpy's own order for as many numbers, so that the last bit is
    pycocotools' too.

    Args:
        found: detected.
        objects: annotated; visibility above 0 is labelled.
        boxes: [P, 4] xywh of the objects.
        areas: [P] of the objects, square pixels.
        sigmas: [K].
    """
    is_labelled = objects[:, :, 2] > 0
    counts = is_labelled.sum(axis=1)
    offset = found[:, :, :2] - objects[:, :, :2]
    bare = np.flatnonzero(counts == 0)
    offset[bare] = _beyond(found[bare, :, :2], boxes[bare])
    variances = (sigmas * 2) ** 2
    error = (offset[:, :, 0] ** 2 + offset[:, :, 1] ** 2) / variances / (areas[:, None] + np.spacing(1)) / 2
    closeness = np.exp(-error)
    is_labelled[bare] = True
    counts[bare] = len(sigmas)
    result = np.zeros(len(found))
    for count in np.unique(counts):
        rows = np.flatnonzero(counts == count)
        result[rows] = closeness[rows][is_labelled[rows]].reshape(-1, count).sum(axis=1) / count
    return result


def extents(keypoints: Floats) -> Floats:
    """Area [D] of the box around all keypoints [D, K, 3]: a detection's size, as ``COCO.loadRes`` has it."""
    sides: Floats = keypoints[:, :, :2].max(axis=1) - keypoints[:, :, :2].min(axis=1)
    areas: Floats = sides[:, 0] * sides[:, 1]
    return areas


def _beyond(points: Floats, boxes: Floats) -> Floats:
    """How far points [P, K, 2] lie outside the boxes [P, 4] xywh, which are doubled in each direction."""
    low = (boxes[:, :2] - boxes[:, 2:])[:, None]
    high = (boxes[:, :2] + boxes[:, 2:] * 2)[:, None]
    distance: Floats = np.maximum(0.0, low - points) + np.maximum(0.0, points - high)
    return distance
