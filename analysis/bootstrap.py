"""AP of one evaluation under many draws of its pictures at once, exactly as COCOeval would compute each.

Detections are matched to objects picture by picture, so that drawing pictures with replacement changes no match: a
picture that is drawn w times counts w-fold. AP then needs, in order of score, the weighted number of hits and of
detections, and only at hits: between two of them precision falls and recall stands still. So one pass over the hits
serves all draws, and 1,000 draws of 5,000 pictures with 80 categories take seconds (benchmarks/bootstrap.py).

The matches are read from the ``.npz`` files that ``raystudy.evaluation.matches`` writes and documents.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raystudy.errors import StorageError

MATCHES_VERSION = 1
NUM_THRESHOLDS = 10
"""IoU 0.50, 0.55, ... 0.95."""

AREAS = ("all", "small", "medium", "large")
RECALL_LEVELS: NDArray[np.float64] = np.linspace(0.0, 1.0, 101)
"""COCOeval's (``Params.recThrs``)."""

_BLOCK = 500_000
"""Elements (detections x draws) that are worked on at once: 2 MB an array, which caches hold."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class StoredMatches:
    """Detections of one evaluation against its ground truth; shapes as in ``raystudy.evaluation.matches.Matches``."""

    image_ids: Ints
    category_ids: Ints
    detection_category: Ints
    detection_image: Ints
    scores: Floats
    matched: NDArray[np.bool_]
    """[A, T, D]."""

    ignored: NDArray[np.bool_]
    object_category: Ints
    object_image: Ints
    object_ignored: NDArray[np.bool_]
    """[A, G]."""


def read_matches(content: bytes, name: str) -> StoredMatches:
    """Matches from the bytes of an ``.npz`` file; ``name`` is for messages.

    Raises:
        StorageError: it is no such file, or one of another version.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        version = int(arrays.pop("version", -1))
        if version != MATCHES_VERSION:
            raise StorageError(f"{name} has matches of version {version}; this raystudy reads {MATCHES_VERSION}")
        arrays.pop("max_detections", None)
        shape = (len(AREAS), NUM_THRESHOLDS, len(arrays["scores"]))
        for key in ("matched", "ignored"):
            arrays[key] = np.unpackbits(arrays[key], count=int(np.prod(shape))).astype(bool).reshape(shape)
        return StoredMatches(**arrays)
    except (ValueError, OSError, TypeError, KeyError) as error:
        raise StorageError(f"{name} holds no matches ({error}); it was not written by raystudy") from error


def draw_images(num_images: int, num_draws: int, seed: int = 0) -> NDArray[np.float32]:
    """How often each picture is in each draw: [I, B]. Equal arguments give equal draws, which pairs trials."""
    rng = np.random.default_rng(seed)
    weights = np.empty((num_images, num_draws), dtype=np.float32)
    for draw in range(num_draws):
        weights[:, draw] = np.bincount(rng.integers(0, num_images, num_images), minlength=num_images)
    return weights


def average_precision(matches: StoredMatches, weights: NDArray[np.float32], area: str = "all") -> Floats:
    """AP in percent of every category, IoU threshold and draw: [K, T, B]; nan where a draw holds no object.

    Args:
        matches: of one evaluation.
        weights: [I, B], whole numbers; float32 holds their sums exactly up to 16 million.
        area: of ``AREAS``.
    """
    a = AREAS.index(area)
    num_categories, num_draws = len(matches.category_ids), weights.shape[1]
    found = np.full((num_categories, NUM_THRESHOLDS, num_draws), np.nan)
    counted = ~matches.object_ignored[a]
    bounds = np.searchsorted(matches.detection_category, np.arange(num_categories + 1))
    for category in range(num_categories):
        objects = matches.object_image[counted & (matches.object_category == category)]
        if len(objects) == 0:
            continue
        chosen = np.arange(bounds[category], bounds[category + 1])
        chosen = chosen[np.argsort(-matches.scores[chosen], kind="stable")]
        images = matches.detection_image[chosen]
        matched, ignored = matches.matched[a][:, chosen], matches.ignored[a][:, chosen]
        for block in _blocks(max(len(chosen), len(objects)), num_draws):
            drawn = weights[:, block]
            num_objects = drawn[objects].sum(axis=0).astype(np.int64)
            found[category, :, block] = _category_ap(images, matched, ignored, num_objects, drawn)
    return found


def summary(ap: Floats, thresholds: slice = slice(None)) -> Floats:
    """Mean over categories and the chosen IoU thresholds, in each draw: [K, T, B] -> [B]; percent."""
    chosen = ap[:, thresholds]
    has_objects = ~np.isnan(chosen[:, 0])
    total = np.where(has_objects, np.nan_to_num(chosen.mean(axis=1)), 0.0).sum(axis=0)
    number = has_objects.sum(axis=0)
    found: Floats = np.where(number > 0, total / np.maximum(number, 1), np.nan)
    return found


def _blocks(num_lines: int, num_draws: int) -> Iterator[slice]:
    size = max(1, min(num_draws, _BLOCK // max(1, num_lines)))
    return (slice(start, min(start + size, num_draws)) for start in range(0, num_draws, size))


def _category_ap(
    images: Ints,
    matched: NDArray[np.bool_],
    ignored: NDArray[np.bool_],
    num_objects: Ints,
    weights: NDArray[np.float32],
) -> Floats:
    """AP of one category in percent [T, B]; detections in order of score, ``num_objects`` [B]."""
    num_draws = weights.shape[1]
    found = np.zeros((NUM_THRESHOLDS, num_draws))
    drawn = weights[images]
    detections = np.cumsum(drawn, axis=0)
    levels, stride = _levels_reached(num_objects)
    offsets = np.arange(num_draws) * stride
    for threshold in range(NUM_THRESHOLDS):
        hits_at = np.flatnonzero(matched[threshold] & ~ignored[threshold])
        if len(hits_at) == 0:
            continue
        hits = np.cumsum(drawn[hits_at], axis=0)
        counted = detections[hits_at]
        ignored_at = np.flatnonzero(ignored[threshold])
        if len(ignored_at):
            before = np.zeros((len(ignored_at) + 1, num_draws), dtype=np.float32)
            np.cumsum(drawn[ignored_at], axis=0, out=before[1:])
            counted = counted - before[np.searchsorted(ignored_at, hits_at)]
        # COCOeval: tp / (fp + tp + np.spacing(1)), in float64.
        precision = hits.astype(np.float64) / (counted + np.spacing(1.0))
        np.maximum.accumulate(precision[::-1], axis=0, out=precision[::-1])
        reached = levels[hits.astype(np.int64) + offsets]
        reached[1:] -= reached[:-1].copy()
        found[threshold] = np.einsum("nb,nb->b", precision, reached)
    found *= 100 / len(RECALL_LEVELS)
    found[:, num_objects == 0] = np.nan
    return found


def _levels_reached(num_objects: Ints) -> tuple[NDArray[np.int8], int]:
    """How many recall levels lie at or below h / n, for every draw's number of objects n and h = 0 ... n; flat."""
    stride = int(num_objects.max(initial=0)) + 1
    recall = np.arange(stride) / np.maximum(num_objects, 1)[:, None]
    np.minimum(recall, 1.0, out=recall)
    # The level's number by arithmetic, then corrected by the levels as floats, which is what COCOeval compares.
    levels = np.minimum((recall * 100).astype(np.int64), 100)
    levels -= RECALL_LEVELS[levels] > recall
    levels += RECALL_LEVELS[np.minimum(levels + 1, 100)] <= recall
    reached = np.minimum(levels + 1, len(RECALL_LEVELS)).astype(np.int8)
    return reached.ravel(), stride
