"""COCO annotations as a lean index: flat arrays instead of a dict for each annotation."""

import itertools
import math
from array import array
from collections import Counter
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
    """The instances that are trained on, sorted by picture: no crowds, nothing degenerate."""

    offsets: NDArray[np.int64]
    """[images + 1]: the instances of picture ``i`` are ``offsets[i]`` to ``offsets[i + 1]``."""

    boxes: NDArray[np.float32]
    """[instances, 4], xyxy, clipped to the picture."""

    labels: NDArray[np.int64]
    """[instances], from 1."""

    coordinates: NDArray[np.float32]
    """[points, 2]: x, y of all polygons."""

    rings: NDArray[np.int64]
    """[rings + 1]: the points of ring ``r`` are ``rings[r]`` to ``rings[r + 1]``."""

    instance_rings: NDArray[np.int64]
    """[instances + 1]: the rings of instance ``i``; none when its mask is run lengths."""

    run_lengths: dict[int, Rle]
    """Of the instances whose mask is run lengths."""

    has_masks: bool
    keypoints: NDArray[np.float32] | None
    """[instances, K, 3]."""

    def outline(self, instance: int) -> Outline:
        """The mask of one instance, as views into the index; its box when the annotation has no mask."""
        run_lengths = self.run_lengths.get(instance)
        if run_lengths is not None:
            return run_lengths
        first, last = self.instance_rings[instance], self.instance_rings[instance + 1]
        if first == last:
            x1, y1, x2, y2 = self.boxes[instance]
            return (np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], dtype=np.float32),)
        bounds = self.rings[first : last + 1].tolist()
        return tuple(self.coordinates[a:b] for a, b in itertools.pairwise(bounds))


def build_index(content: dict[str, Any], labels: dict[int, int], repairs: Counter[str]) -> AnnotationIndex:
    """Index the annotations of a COCO json, dropping and repairing what is degenerate.

    Args:
        content: the json, checked.
        labels: category id to label.
        repairs: where dropped and repaired annotations are counted, by what was done.
    """
    position = {image["id"]: index for index, image in enumerate(content["images"])}
    by_image: list[list[dict[str, Any]]] = [[] for _ in position]
    for annotation in content["annotations"]:
        if annotation.get("iscrowd"):
            repairs["crowd regions kept out of training"] += 1
        else:
            by_image[position[annotation["image_id"]]].append(annotation)
    builder = _Builder(labels, repairs, _keypoint_count(content))
    for image, annotations in zip(content["images"], by_image, strict=True):
        for annotation in annotations:
            builder.add(annotation, image["height"], image["width"])
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
    """A COCO segmentation: polygons (rings of fewer than three points are left out) or run lengths of either form."""
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        if isinstance(counts, list):
            counts = coco_mask.frPyObjects(segmentation, height, width)["counts"]
        return Rle(height, width, counts.encode("ascii") if isinstance(counts, str) else counts)
    rings = segmentation or []
    return tuple(np.array(ring, dtype=np.float32).reshape(-1, 2) for ring in rings if len(ring) >= 6)


def _keypoint_count(content: dict[str, Any]) -> int:
    return max((len(category.get("keypoints", ())) for category in content["categories"]), default=0)


class _Builder:
    """Collects instances one by one."""

    def __init__(self, labels: dict[int, int], repairs: Counter[str], num_keypoints: int) -> None:
        self.label_of, self.repairs, self.num_keypoints = labels, repairs, num_keypoints
        self.offsets, self.labels = array("q", [0]), array("q")
        self.boxes, self.coordinates, self.keypoints = array("f"), array("f"), array("f")
        self.rings, self.instance_rings = array("q", [0]), array("q", [0])
        self.run_lengths: dict[int, Rle] = {}
        self.num_without_mask = 0

    def add(self, annotation: dict[str, Any], height: int, width: int) -> None:
        outline = parse_outline(annotation.get("segmentation"), height, width)
        box = self._box(annotation.get("bbox"), outline, height, width)
        if box is None:
            return
        self.boxes.extend(box)
        instance = len(self.labels)
        self.labels.append(self.label_of[annotation["category_id"]])
        if isinstance(outline, Rle):
            self.run_lengths[instance] = outline
        else:
            for ring in outline:
                self.coordinates.frombytes(ring.tobytes())
                self.rings.append(len(self.coordinates) // 2)
            self.num_without_mask += not outline
        self.instance_rings.append(len(self.rings) - 1)
        if self.num_keypoints:
            values = annotation.get("keypoints") or [0] * (3 * self.num_keypoints)
            self.keypoints.extend(float(value) for value in values)

    def _box(
        self, bbox: list[float] | None, outline: Outline, height: int, width: int
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
        clipped = _clip(mask_box(outline), height, width)
        if clipped is not None:
            self.repairs["boxes without extent taken from their mask"] += 1
            return clipped
        self.repairs["instances without extent inside their picture dropped"] += 1
        return None

    def index(self) -> AnnotationIndex:
        has_masks = self.num_without_mask < len(self.labels)
        if has_masks and self.num_without_mask:
            self.repairs["instances without mask given their box as mask"] += self.num_without_mask
        num_instances = len(self.labels)
        return AnnotationIndex(
            offsets=np.array(self.offsets, dtype=np.int64),
            boxes=np.array(self.boxes, dtype=np.float32).reshape(-1, 4),
            labels=np.array(self.labels, dtype=np.int64),
            coordinates=np.array(self.coordinates, dtype=np.float32).reshape(-1, 2),
            rings=np.array(self.rings, dtype=np.int64),
            instance_rings=np.array(self.instance_rings, dtype=np.int64),
            run_lengths=self.run_lengths,
            has_masks=has_masks,
            keypoints=np.array(self.keypoints, dtype=np.float32).reshape(num_instances, -1, 3)
            if self.num_keypoints
            else None,
        )


def _clip(box: tuple[float, float, float, float], height: int, width: int) -> tuple[float, float, float, float] | None:
    x1, y1, x2, y2 = max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height))
    if not all(math.isfinite(value) for value in box) or x2 <= x1 or y2 <= y1:
        return None
    return x1, y1, x2, y2
