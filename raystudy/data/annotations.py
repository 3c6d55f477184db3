"""Annotations as a lean index: flat arrays instead of a dict for each annotation."""

import dataclasses
import itertools
import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from raystudy.data.masks import Outline, Rle

CLIP_TOLERANCE = 1.0
"""Boxes that reach further out of their picture than this, pixels, are counted as repaired; all are clipped."""


@dataclass(frozen=True, slots=True)
class AnnotationIndex:
    """The instances that are trained on, sorted by picture: no crowds, nothing difficult, nothing degenerate."""

    offsets: NDArray[np.int64]
    """[images + 1]: the instances of picture ``i`` are ``offsets[i]`` to ``offsets[i + 1]``."""

    boxes: NDArray[np.float32]
    """[instances, 4], xyxy, clipped to the picture."""

    labels: NDArray[np.int64]
    """[instances], from 1."""

    numbers: NDArray[np.int64]
    """[instances]: position of each in the annotations' list."""

    coordinates: NDArray[np.float32]
    """[points, 2]: x, y of all polygons."""

    rings: NDArray[np.int64]
    """[rings + 1]: the points of ring ``r`` are ``rings[r]`` to ``rings[r + 1]``."""

    instance_rings: NDArray[np.int64]
    """[instances, 2]: first ring of each and the one after its last; equal when it has no polygon."""

    run_lengths: NDArray[np.uint8]
    """COCO's compressed run lengths of all instances that have such a mask, end to end."""

    instance_runs: NDArray[np.int64]
    """[instances, 2]: first byte of each instance's run lengths and the one after its last; equal without."""

    keypoints: NDArray[np.float32]
    """[instances, K, 3]; K is 0 without keypoints."""

    def outline(self, instance: int, height: int, width: int) -> Outline:
        """The mask of one instance of a picture of that size; its box when the annotation has no mask."""
        first, last = self.instance_runs[instance].tolist()
        if first < last:
            return Rle(height, width, self.run_lengths[first:last].tobytes())
        first, last = self.instance_rings[instance].tolist()
        if first == last:
            x1, y1, x2, y2 = self.boxes[instance]
            return (np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], dtype=np.float32),)
        bounds = self.rings[first : last + 1].tolist()
        return tuple(self.coordinates[a:b] for a, b in itertools.pairwise(bounds))

    def selected(self, kept: NDArray[np.int64], labels: NDArray[np.int64]) -> "AnnotationIndex":
        """Some of the instances, under other labels; the outlines are shared.

        Args:
            kept: the instances, in ascending order.
            labels: [kept], their labels.
        """
        return dataclasses.replace(
            self,
            offsets=np.searchsorted(kept, self.offsets).astype(np.int64),
            boxes=self.boxes[kept],
            labels=labels,
            numbers=self.numbers[kept],
            instance_rings=self.instance_rings[kept],
            instance_runs=self.instance_runs[kept],
            keypoints=self.keypoints[kept],
        )


def build_index(content: dict[str, Any], labels: dict[int, int], repairs: Counter[str]) -> AnnotationIndex:
    """Index the annotations of a COCO json, dropping and repairing what is degenerate.

    Args:
        content: the json, checked.
        labels: category id to label.
        repairs: where dropped and repaired annotations are counted, by what was done.
    """
    position = {image["id"]: index for index, image in enumerate(content["images"])}
    by_image: list[list[int]] = [[] for _ in position]
    for number, annotation in enumerate(content["annotations"]):
        if annotation.get("iscrowd"):
            repairs["crowd regions kept out of training"] += 1
        elif annotation.get("ignore"):
            repairs["difficult objects kept out of training"] += 1
        else:
            by_image[position[annotation["image_id"]]].append(number)
    builder = _Builder(labels, repairs, _keypoint_count(content))
    for image, numbers in zip(content["images"], by_image, strict=True):
        for number in numbers:
            builder.add(content["annotations"][number], number, image["height"], image["width"])
        builder.offsets.append(len(builder.labels))
    return builder.index()


def mask_box(outline: Outline) -> tuple[float, float, float, float]:
    """The box of a mask, xyxy; all zero when the mask is empty."""
    if isinstance(outline, Rle):
        encoded = {"size": [outline.height, outline.width], "counts": outline.counts}
        x, y, width, height = (float(value) for value in coco_mask.toBbox(encoded))
        return x, y, x + width, y + height
    if not outline:
        return 0.0, 0.0, 0.0, 0.0
    points = np.concatenate(outline)
    low, high = points.min(axis=0), points.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def parse_outline(segmentation: Any, height: int, width: int) -> Outline:
    """A COCO segmentation: the polygons of ``usable_rings``, or run lengths of either form, unless they are empty."""
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        if isinstance(counts, list):
            counts = coco_mask.frPyObjects(segmentation, height, width)["counts"]
        found = Rle(height, width, counts.encode("ascii") if isinstance(counts, str) else counts)
        return found if coco_mask.area({"size": [height, width], "counts": found.counts}) else ()
    rings = usable_rings(segmentation, height, width)
    return tuple(np.array(ring, dtype=np.float32).reshape(-1, 2) for ring in rings)


def usable_rings(rings: Sequence[Sequence[float]] | None, height: int, width: int) -> list[Sequence[float]]:
    """The polygons that have three points or more, and an extent inside a picture of that size."""
    usable = []
    for ring in rings or ():
        if len(ring) < 6:
            continue
        xs, ys = ring[::2], ring[1::2]
        if max(min(xs), 0) < min(max(xs), width) and max(min(ys), 0) < min(max(ys), height):
            usable.append(ring)
    return usable


def _keypoint_count(content: dict[str, Any]) -> int:
    return max((len(category.get("keypoints", ())) for category in content["categories"]), default=0)


class _Builder:
    """Collects instances one by one."""

    def __init__(self, labels: dict[int, int], repairs: Counter[str], num_keypoints: int) -> None:
        self.label_of, self.repairs, self.num_keypoints = labels, repairs, num_keypoints
        self.offsets, self.labels, self.numbers = array("q", [0]), array("q"), array("q")
        self.boxes, self.coordinates, self.keypoints = array("f"), array("f"), array("f")
        self.rings, self.instance_rings = array("q", [0]), array("q")
        self.run_lengths, self.instance_runs = bytearray(), array("q")
        self.num_without_mask = 0

    def add(self, annotation: dict[str, Any], number: int, height: int, width: int) -> None:
        segmentation = annotation.get("segmentation")
        box = self._box(annotation.get("bbox"), segmentation, height, width)
        if box is None:
            return
        self.boxes.extend(box)
        self.labels.append(self.label_of[annotation["category_id"]])
        self.numbers.append(number)
        self._add_mask(segmentation, height, width)
        if self.num_keypoints:
            values = annotation.get("keypoints") or [0] * (3 * self.num_keypoints)
            self.keypoints.extend(float(value) for value in values)

    def _add_mask(self, segmentation: Any, height: int, width: int) -> None:
        first_ring, first_byte = len(self.rings) - 1, len(self.run_lengths)
        num_parts = 0
        if isinstance(segmentation, dict):
            outline = parse_outline(segmentation, height, width)
            if isinstance(outline, Rle):
                self.run_lengths += outline.counts
                num_parts = len(segmentation)
        else:
            rings = usable_rings(segmentation, height, width)
            num_parts = len(rings)
            for ring in rings:  # Without a detour by NumPy, which would take most of the time for COCO's 860k.
                self.coordinates.extend(ring)
                self.rings.append(len(self.coordinates) // 2)
        self.num_without_mask += not num_parts
        if segmentation and num_parts < len(segmentation):
            self.repairs["masks of which parts without extent in their picture were left out"] += 1
        self.instance_rings.extend((first_ring, len(self.rings) - 1))
        self.instance_runs.extend((first_byte, len(self.run_lengths)))

    def _box(
        self, bbox: list[float] | None, segmentation: Any, height: int, width: int
    ) -> tuple[float, float, float, float] | None:
        """The box clipped to the picture, the mask's box where the stored one has no extent, None where none has."""
        if bbox is not None:
            x, y, w, h = (float(value) for value in bbox)
            clipped = _clip((x, y, x + w, y + h), height, width)
            if clipped is not None:
                excess = max(-x, -y, x + w - width, y + h - height)
                if excess > CLIP_TOLERANCE:
                    self.repairs["boxes clipped to their picture"] += 1
                return clipped
        clipped = _clip(mask_box(parse_outline(segmentation, height, width)), height, width)
        if clipped is not None:
            self.repairs["boxes without extent taken from their mask"] += 1
            return clipped
        self.repairs["instances without extent inside their picture dropped"] += 1
        return None

    def index(self) -> AnnotationIndex:
        num_instances = len(self.labels)
        if 0 < self.num_without_mask < num_instances:
            self.repairs["instances without mask given their box as mask"] += self.num_without_mask
        return AnnotationIndex(
            offsets=np.array(self.offsets, dtype=np.int64),
            boxes=np.array(self.boxes, dtype=np.float32).reshape(-1, 4),
            labels=np.array(self.labels, dtype=np.int64),
            numbers=np.array(self.numbers, dtype=np.int64),
            coordinates=np.array(self.coordinates, dtype=np.float32).reshape(-1, 2),
            rings=np.array(self.rings, dtype=np.int64),
            instance_rings=np.array(self.instance_rings, dtype=np.int64).reshape(-1, 2),
            run_lengths=np.frombuffer(bytes(self.run_lengths), dtype=np.uint8),
            instance_runs=np.array(self.instance_runs, dtype=np.int64).reshape(-1, 2),
            keypoints=np.array(self.keypoints, dtype=np.float32).reshape(num_instances, self.num_keypoints, 3),
        )


def _clip(box: tuple[float, float, float, float], height: int, width: int) -> tuple[float, float, float, float] | None:
    x1, y1, x2, y2 = max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height))
    if not all(math.isfinite(value) for value in box) or x2 <= x1 or y2 <= y1:
        return None
    return x1, y1, x2, y2
