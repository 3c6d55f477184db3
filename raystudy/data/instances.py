"""The instances of one picture, and what resizing, mirroring and cropping the picture does to them."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from raystudy.data.batch import Target
from raystudy.data.masks import CompactMasks

MIN_VISIBLE_SIDE = 1.0
"""Instances of which a crop leaves less than this, pixels, are dropped."""


@dataclass(frozen=True, slots=True)
class Instances:
    """Boxes, labels, masks and keypoints in one picture's pixels. Boxes are xyxy, width is ``x2 - x1``."""

    boxes: NDArray[np.float32]
    """[N, 4]."""

    labels: NDArray[np.int64]
    """[N], 1 to the number of categories."""

    masks: CompactMasks | None = None
    keypoints: NDArray[np.float32] | None = None
    """[N, K, 3]: x, y, visibility."""

    keypoint_mirror: tuple[int, ...] = ()
    """Which keypoint each becomes in a mirror: left and right change places."""

    def __len__(self) -> int:
        return len(self.boxes)

    def flipped(self, width: int) -> "Instances":
        """In the picture, ``width`` pixels wide, mirrored left to right."""
        boxes = self.boxes.copy()
        boxes[:, 0], boxes[:, 2] = width - self.boxes[:, 2], width - self.boxes[:, 0]
        keypoints = self.keypoints
        if keypoints is not None:
            keypoints = keypoints[:, list(self.keypoint_mirror)]
            keypoints[:, :, 0] = np.where(keypoints[:, :, 2] > 0, width - keypoints[:, :, 0], 0)
        masks = None if self.masks is None else self.masks.flipped(width)
        return dataclasses.replace(self, boxes=boxes, masks=masks, keypoints=keypoints)

    def scaled(self, x: float, y: float) -> "Instances":
        """In the picture resized by ``x`` and ``y``."""
        boxes = self.boxes * np.array([x, y, x, y], dtype=np.float32)
        keypoints = None if self.keypoints is None else self.keypoints * np.array([x, y, 1], dtype=np.float32)
        masks = None if self.masks is None else self.masks.scaled(x, y)
        return dataclasses.replace(self, boxes=boxes, masks=masks, keypoints=keypoints)

    def cropped(self, left: int, top: int, width: int, height: int) -> "Instances":
        """In a window of the picture: boxes are those of what is visible, instances without anything visible go."""
        boxes = np.clip(
            self.boxes - np.array([left, top, left, top], dtype=np.float32),
            0,
            np.array([width, height, width, height], dtype=np.float32),
        )
        moved = None if self.masks is None else self.masks.shifted(-left, -top)
        visible: NDArray[np.bool_] = np.asarray((boxes[:, 2:] - boxes[:, :2] >= MIN_VISIBLE_SIDE).all(axis=1))
        # A mask's box is not its whole box cut at the window's border, so cut masks are looked at.
        is_cut = ((self.boxes[:, :2] < (left, top)) | (self.boxes[:, 2:] > (left + width, top + height))).any(axis=1)
        for instance in np.flatnonzero(is_cut & visible) if moved is not None else ():
            tight = _mask_box(moved, int(instance), width, height)
            visible[instance] = tight is not None
            if tight is not None:
                boxes[instance, :2] = np.maximum(boxes[instance, :2], tight[:2])
                boxes[instance, 2:] = np.minimum(boxes[instance, 2:], tight[2:])
                visible[instance] = bool((boxes[instance, 2:] - boxes[instance, :2] >= MIN_VISIBLE_SIDE).all())
        kept = np.flatnonzero(visible)
        keypoints = None if self.keypoints is None else _crop_keypoints(self.keypoints[kept], left, top, width, height)
        masks = None if moved is None else moved.selected(kept)
        return dataclasses.replace(self, boxes=boxes[kept], labels=self.labels[kept], masks=masks, keypoints=keypoints)

    def to_target(self) -> Target:
        """As the model takes them: copies, since these may be views into the data set's index."""
        keypoints = None if self.keypoints is None else torch.tensor(self.keypoints)
        return Target(torch.tensor(self.boxes), torch.tensor(self.labels), self.masks, keypoints)


def _mask_box(masks: CompactMasks | None, instance: int, width: int, height: int) -> NDArray[np.float32] | None:
    """The box of one mask's pixels in an image of that size, or None when it has none there."""
    assert masks is not None
    mask = masks.selected(np.array([instance])).window(width, height)[0]
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if len(columns) == 0:
        return None
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float32)


def _crop_keypoints(
    keypoints: NDArray[np.float32], left: int, top: int, width: int, height: int
) -> NDArray[np.float32]:
    """Shifted; points outside the window are as if they had never been labelled."""
    moved = keypoints - np.array([left, top, 0], dtype=np.float32)
    inside = (moved[..., 0] >= 0) & (moved[..., 0] < width) & (moved[..., 1] >= 0) & (moved[..., 1] < height)
    result: NDArray[np.float32] = moved * (inside & (keypoints[..., 2] > 0))[..., None]
    return result
