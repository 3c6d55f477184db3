"""A few validation pictures with what is in them and what was found: for eyes, beside the numbers.

They are kept as a folder that any page can show without torch:

    examples.json     see below
    <n>.jpg           picture n, its longer side at most ``LONG_SIDE`` pixels

    {"version": 1,
     "categories": ["disk", …],                     label 1 first
     "pictures": [{"file": "0.jpg", "image_id": 7, "name": "0007.png", "width": 640, "height": 427,
                   "original_width": 1920, "original_height": 1281,
                   "objects": [INSTANCE, …],        the annotated ones; crowd regions are left out
                   "detections": [INSTANCE, …]}]}   best first, each with "score"

    INSTANCE: {"label": 1, "category": "disk", "box": [x1, y1, x2, y2], "outline": [[x, y, x, y, …], …] or null,
               "keypoints": [[x, y, v], …] or null}

All coordinates are pixels of the JPEG. The rings of an outline are filled by the even-odd rule, so that holes are
holes; they follow the mask to about ``TOLERANCE``. ``v`` is the visibility of an annotated keypoint (0: not
labelled) or the score of a detected one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from raystudy import atomic
from raystudy.data.coco import CocoDataset
from raystudy.data.outlines import trace_rings
from raystudy.evaluation.coco import Result

EXAMPLES_VERSION = 1
NUM_EXAMPLES = 8
LONG_SIDE = 640
"""Of a picture that is kept, pixels."""

JPEG_QUALITY = 85
MOST_DETECTIONS = 30
"""Of a picture, the best ones."""

LEAST_SCORE = 0.1
"""Of a detection that is kept; a page may ask for more."""

TOLERANCE = 1 / 640
"""Distance by which a kept outline may miss the mask's, as a share of the picture's longer side."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Pictures with their annotated and detected instances, ready to be kept."""

    content: dict[str, Any]
    """As ``examples.json`` has it."""

    pictures: list[NDArray[np.uint8]]
    """uint8 [H, W, 3], in the order of ``content["pictures"]``."""

    def save(self, folder: Path) -> None:
        """Write the json and the pictures into a folder that is there."""
        for record, picture in zip(self.content["pictures"], self.pictures, strict=True):
            Image.fromarray(picture).save(folder / record["file"], format="JPEG", quality=JPEG_QUALITY)
        atomic.write_json(folder / "examples.json", self.content)


def example_indices(instance_counts: NDArray[np.int64], count: int = NUM_EXAMPLES) -> list[int]:
    """Which pictures of a data set are shown: the same ones for every trial, spread evenly over it.

    Pictures without instances are shown only when too few have any.

    Args:
        instance_counts: [N], of each picture.
        count: how many; fewer when the data set has fewer.
    """
    filled, empty = np.flatnonzero(instance_counts > 0), np.flatnonzero(instance_counts == 0)
    chosen = [*_spread(filled, count), *_spread(empty, max(0, count - len(filled)))]
    return sorted(chosen)


def _spread(indices: NDArray[np.int64], count: int) -> list[int]:
    count = min(count, len(indices))
    return [int(indices[(2 * number + 1) * len(indices) // (2 * count)]) for number in range(count)]


def collect_examples(dataset: CocoDataset, indices: Sequence[int], results: Sequence[Result]) -> Examples:
    """The pictures ``indices`` of a data set with the detections in them.

    Args:
        dataset: the validation set.
        indices: see ``example_indices``.
        results: an evaluator's, of these pictures at least.

    Raises:
        DataError: a picture cannot be read.
    """
    by_id = {result["image_id"]: result for result in results}
    records, pictures = [], []
    for number, index in enumerate(indices):
        picture = dataset.image(index)
        size = shown_size(picture.shape[0], picture.shape[1])
        pictures.append(np.asarray(Image.fromarray(picture).resize((size[1], size[0])), dtype=np.uint8))
        record = {
            "file": f"{number}.jpg",
            "image_id": dataset.image_ids[index],
            "name": dataset.file_name(index),
            **_sizes(size, picture),
            "objects": _objects(dataset, index, size),
            "detections": detection_records(by_id[dataset.image_ids[index]], dataset.categories, picture.shape, size),
        }
        records.append(record)
    content = {"version": EXAMPLES_VERSION, "categories": dataset.categories, "pictures": records}
    return Examples(content, pictures)


def shown_size(height: int, width: int, long_side: int = LONG_SIDE) -> tuple[int, int]:
    """Height and width at which a picture is kept: smaller when its longer side is above ``long_side``."""
    factor = min(1.0, long_side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def detection_records(
    result: Result, categories: Sequence[str], original: Sequence[int], size: tuple[int, int]
) -> list[dict[str, Any]]:
    """The best detections of one picture, as INSTANCE with ``score``.

    Args:
        result: an evaluator's, in pixels of the picture on disk.
        categories: their names, label 1 first.
        original: height and width of the picture on disk.
        size: height and width of the picture that is kept.
    """
    y, x = size[0] / original[0], size[1] / original[1]
    scores = np.asarray(result["scores"])
    best = [int(i) for i in np.argsort(-scores, kind="stable")[:MOST_DETECTIONS] if scores[i] >= LEAST_SCORE]
    found = []
    for i in best:
        left, top, width, height = result["boxes"][i].tolist()
        mask = coco_mask.decode(result["rles"][i]) if len(result["rles"]) else None
        points = result["keypoints"][i] * np.array([x, y, 1.0]) if "keypoints" in result else None
        box = np.array([left * x, top * y, (left + width) * x, (top + height) * y])
        name = categories[int(result["labels"][i]) - 1]
        record = _instance(int(result["labels"][i]), name, box, mask, points, size)
        found.append({**record, "score": round(float(scores[i]), 4)})
    return found


def _sizes(size: tuple[int, int], picture: NDArray[np.uint8]) -> dict[str, int]:
    height, width = picture.shape[:2]
    return {"height": size[0], "width": size[1], "original_height": height, "original_width": width}


def _objects(dataset: CocoDataset, index: int, size: tuple[int, int]) -> list[dict[str, Any]]:
    height, width = int(dataset.heights[index]), int(dataset.widths[index])
    found = dataset.instances(index).scaled(size[1] / width, size[0] / height)
    masks = None if found.masks is None else found.masks.window(size[1], size[0])
    records = []
    for i, label in enumerate(found.labels.tolist()):
        mask = None if masks is None else masks[i]
        points = None if found.keypoints is None else found.keypoints[i]
        records.append(_instance(label, dataset.categories[label - 1], found.boxes[i], mask, points, size))
    return records


def _instance(
    label: int,
    category: str,
    box: NDArray[Any],
    mask: NDArray[np.uint8] | None,
    keypoints: NDArray[Any] | None,
    size: tuple[int, int],
) -> dict[str, Any]:
    return {
        "label": label,
        "category": category,
        "box": [round(float(value), 1) for value in box],
        "outline": None if mask is None else outline(mask, size),
        "keypoints": None if keypoints is None else [[round(float(v), 1) for v in point] for point in keypoints],
    }


def outline(mask: NDArray[np.uint8], size: tuple[int, int]) -> list[list[int]]:
    """The rings of a mask, brought to height and width ``size``, with as few corners as ``TOLERANCE`` allows.

    Args:
        mask: [H, W] of 0 and 1, of the whole picture.
        size: height and width in whose pixels the rings are.
    """
    if mask.shape != size:
        resized = Image.fromarray(mask * np.uint8(255)).resize((size[1], size[0]), Image.Resampling.BILINEAR)
        mask = (np.asarray(resized) > 127).astype(np.uint8)
    rings, _ = trace_rings(mask.astype(bool))
    kept = [_simplified(np.array(ring), TOLERANCE * max(size)) for ring in rings]
    return [ring.ravel().tolist() for ring in kept if len(ring) > 2]


def _simplified(ring: NDArray[np.int64], tolerance: float) -> NDArray[np.int64]:
    """A closed ring [P, 2] without the corners that lie within ``tolerance`` pixels of the line between others.

    Ramer, Douglas and Peucker's way, on the two halves between the first corner and the one farthest from it.
    """
    far = int(np.argmax(((ring - ring[0]) ** 2).sum(1)))
    closed = np.concatenate([ring, ring[:1]])
    is_kept = np.zeros(len(closed), dtype=bool)
    is_kept[[0, far]] = True
    spans = [(0, far), (far, len(ring))]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        along, offset = closed[last] - closed[first], closed[first + 1 : last] - closed[first]
        length = float(np.hypot(*along))
        # Where a span begins and ends at one corner there is no line: distances are to the corner.
        across = np.abs(along[0] * offset[:, 1] - along[1] * offset[:, 0])
        distance = across / length if length else np.hypot(offset[:, 0], offset[:, 1])
        if distance.max() > tolerance:
            middle = first + 1 + int(distance.argmax())
            is_kept[middle] = True
            spans += [(first, middle), (middle, last)]
    return ring[is_kept[:-1]]
