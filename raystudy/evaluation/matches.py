"""Which detection found which object, picture by picture, and the average precision that follows.

``Matches`` holds what COCOeval's ``evalImgs`` hold, as flat arrays: enough to compute AP for any resample of the
pictures exactly, without detections or masks. numpy only, so that readers need no torch.

An ``.npz`` file of it has the fields of ``Matches`` by name, with ``matched`` and ``ignored`` as packed bits
(``numpy.packbits`` over the flattened array) and ``version``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from raystudy.errors import DataError

MATCHES_VERSION = 1

IOU_THRESHOLDS: NDArray[np.float64] = np.linspace(0.5, 0.95, 10)
RECALL_LEVELS: NDArray[np.float64] = np.linspace(0.0, 1.0, 101)
AREA_RANGES: NDArray[np.float64] = np.array([[0, 1e5**2], [0, 32**2], [32**2, 96**2], [96**2, 1e5**2]])
"""all, small, medium, large; square pixels of the picture as it lies on disk. COCO's numbers (``COCOeval.Params``)."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(slots=True, kw_only=True)
class Matches:
    """Detections against ground truth of one kind (boxes or masks), A = 4 area ranges, T = 10 IoU thresholds.

    Detections are sorted by category, then picture, then falling score; at most ``max_detections`` of one category
    in one picture are kept.
    """

    image_ids: Ints
    """[I], rising."""

    category_ids: Ints
    """[K], rising."""

    max_detections: int
    detection_category: Ints
    """[D], index into ``category_ids``."""

    detection_image: Ints
    """[D], index into ``image_ids``."""

    scores: Floats
    """[D]."""

    matched: Bools
    """[A, T, D]: the detection found an object."""

    ignored: Bools
    """[A, T, D]: it counts neither for nor against (it found a crowd, or lies outside the area range)."""

    object_category: Ints
    """[G], index into ``category_ids``."""

    object_image: Ints
    """[G], index into ``image_ids``."""

    object_ignored: Bools
    """[A, G]: a crowd, or outside the area range."""

    def save(self, path: Path) -> None:
        """Write an ``.npz`` file; the same matches give the same bytes."""
        arrays: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        arrays["matched"], arrays["ignored"] = np.packbits(self.matched), np.packbits(self.ignored)
        with path.open("wb") as file:
            np.savez_compressed(file, version=MATCHES_VERSION, **arrays)

    @classmethod
    def load(cls, path: Path | BinaryIO) -> "Matches":
        """Read what ``save`` wrote.

        Raises:
            DataError: the file is of another version.
        """
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        version = int(arrays.pop("version", -1))
        if version != MATCHES_VERSION:
            name = getattr(path, "name", "a file")
            raise DataError(f"{name} has matches of version {version}, but this raystudy reads {MATCHES_VERSION}")
        shape = (len(AREA_RANGES), len(IOU_THRESHOLDS), len(arrays["scores"]))
        for name in ("matched", "ignored"):
            arrays[name] = np.unpackbits(arrays[name], count=int(np.prod(shape))).astype(bool).reshape(shape)
        arrays["max_detections"] = int(arrays["max_detections"])
        return cls(**arrays)


def precision_and_recall(
    matches: Matches, max_detections: int | None = None, image_weights: Ints | None = None
) -> tuple[Floats, Floats]:
    """Interpolated precision [T, 101, K, A] and largest recall [T, K, A]; -1 where a category has no object.

    The same numbers, bit for bit, as ``COCOeval.accumulate``.

    Args:
        matches: of all pictures.
        max_detections: use only so many of one category in one picture; None uses all that were kept.
        image_weights: int64 [I], how often each picture is drawn in a resample; None draws each once. A picture drawn
            twice counts as two pictures, so that results equal COCOeval's on the resample (unless one picture has
            detections of the same category with exactly equal scores, whose order is then arbitrary).
    """
    num_categories = len(matches.category_ids)
    shape = (len(IOU_THRESHOLDS), len(RECALL_LEVELS), num_categories, len(AREA_RANGES))
    precision, recall = -np.ones(shape), -np.ones((shape[0], shape[2], shape[3]))
    bounds = np.searchsorted(matches.detection_category, np.arange(num_categories + 1))
    object_weights = np.ones(len(matches.object_image), np.int64)
    if image_weights is not None:
        object_weights = image_weights[matches.object_image]
    kept = np.ones(len(matches.scores), bool)
    if max_detections is not None and max_detections < matches.max_detections:
        kept = rank_in_group(matches.detection_category * len(matches.image_ids) + matches.detection_image)
        kept = kept < max_detections
    for area in range(len(AREA_RANGES)):
        counted = ~matches.object_ignored[area]
        num_objects = np.bincount(
            matches.object_category[counted], weights=object_weights[counted], minlength=num_categories
        )
        for category in np.flatnonzero(num_objects):
            chosen = np.arange(bounds[category], bounds[category + 1])
            chosen = chosen[kept[chosen]]
            chosen = chosen[np.argsort(-matches.scores[chosen], kind="stable")]
            weights = None if image_weights is None else image_weights[matches.detection_image[chosen]]
            matched, ignored = matches.matched[area][:, chosen], matches.ignored[area][:, chosen]
            curves = _curves(matched & ~ignored, ~matched & ~ignored, int(num_objects[category]), weights)
            precision[:, :, category, area], recall[:, category, area] = curves
    return precision, recall


def _curves(right: Bools, wrong: Bools, num_objects: int, weights: Ints | None) -> tuple[Floats, Floats]:
    """Precision at the recall levels [T, 101] and the largest recall [T] of detections [T, N] in order of score."""
    num_thresholds, num_detections = right.shape
    precision = np.zeros((num_thresholds, len(RECALL_LEVELS)))
    if num_detections == 0:
        return precision, np.zeros(num_thresholds)
    one = np.int64(1)
    hits = np.cumsum(right * (one if weights is None else weights), axis=1).astype(float)
    misses = np.cumsum(wrong * (one if weights is None else weights), axis=1).astype(float)
    recalls = hits / num_objects
    envelope = np.maximum.accumulate((hits / (misses + hits + np.spacing(1)))[:, ::-1], axis=1)[:, ::-1]
    for threshold in range(num_thresholds):
        first = np.searchsorted(recalls[threshold], RECALL_LEVELS, side="left")
        reached = first < num_detections
        precision[threshold, reached] = envelope[threshold, first[reached]]
    return precision, recalls[:, -1]


def average_precisions(precision: Floats) -> dict[str, float]:
    """``ap``, ``ap50``, ``ap75``, ``ap_small``, ``ap_medium``, ``ap_large`` in percent; nan without any object."""

    def mean(part: Floats) -> float:
        valid = part[part > -1]
        return float(np.mean(valid)) * 100 if len(valid) else float("nan")

    return {
        "ap": mean(precision[..., 0]),
        "ap50": mean(precision[:1, ..., 0]),
        "ap75": mean(precision[5:6, ..., 0]),
        "ap_small": mean(precision[..., 1]),
        "ap_medium": mean(precision[..., 2]),
        "ap_large": mean(precision[..., 3]),
    }


def rank_in_group(groups: Ints) -> Ints:
    """Position of each element in its run of equal values: 0, 1, 2, … ; ``groups`` is sorted."""
    positions = np.arange(len(groups))
    is_first = np.ones(len(groups), bool)
    is_first[1:] = groups[1:] != groups[:-1]
    result: Ints = positions - np.maximum.accumulate(np.where(is_first, positions, 0))
    return result
