"""Instance masks as they lie in the annotations: polygons or run lengths, rasterised only where a RoI asks.

A picture's masks share one affine map per axis, so that resizing, flipping and cropping a picture costs its masks
nothing. Polygons are rasterised onto the RoI's grid as detectron2 does (shift and scale the polygon, then COCO's own
rasteriser), which is unbiased at borders; run lengths are decoded and sampled at the centres of the grid's cells.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

if TYPE_CHECKING:
    from torch import Tensor

Polygons: TypeAlias = "tuple[NDArray[np.float32], ...]"
"""The rings of one instance, each [P, 2]: x, y in pixels of the picture on disk."""


@dataclass(frozen=True, slots=True)
class Rle:
    """COCO's compressed run lengths of a picture of ``height`` x ``width``."""

    height: int
    width: int
    counts: bytes

    def decode(self) -> NDArray[np.uint8]:
        """uint8 [height, width] of 0 and 1."""
        decoded: NDArray[np.uint8] = coco_mask.decode({"size": [self.height, self.width], "counts": self.counts})
        return decoded


Outline: TypeAlias = "Polygons | Rle"


@dataclass(frozen=True, slots=True)
class CompactMasks:
    """The masks of one picture. A point ``p`` of an outline lies at ``p * scale + shift`` in the sample's image."""

    outlines: Sequence[Outline]
    scale: tuple[float, float] = (1.0, 1.0)
    """x and y; a negative x mirrors."""

    shift: tuple[float, float] = (0.0, 0.0)

    def __len__(self) -> int:
        return len(self.outlines)

    def scaled(self, x: float, y: float) -> "CompactMasks":
        """The masks of the picture resized by ``x`` and ``y``."""
        (sx, sy), (tx, ty) = self.scale, self.shift
        return CompactMasks(self.outlines, (sx * x, sy * y), (tx * x, ty * y))

    def flipped(self, width: float) -> "CompactMasks":
        """The masks of the picture, ``width`` pixels wide, mirrored left to right."""
        (sx, sy), (tx, ty) = self.scale, self.shift
        return CompactMasks(self.outlines, (-sx, sy), (width - tx, ty))

    def shifted(self, x: float, y: float) -> "CompactMasks":
        """The masks moved by ``x`` and ``y`` pixels, as a crop does."""
        tx, ty = self.shift
        return CompactMasks(self.outlines, self.scale, (tx + x, ty + y))

    def selected(self, instances: NDArray[np.int64]) -> "CompactMasks":
        """The masks of some instances."""
        return CompactMasks([self.outlines[i] for i in instances.tolist()], self.scale, self.shift)

    def crop(self, boxes: "Tensor", instances: "Tensor", size: int) -> "Tensor":
        """Binary targets: instance ``instances[i]`` seen through ``boxes[i]``; see ``InstanceMasks.crop``."""
        import torch  # Here, since processes that index annotations read masks and need no torch.

        window = self.rasterise(boxes.double().numpy(), instances.numpy(), size, size)
        return torch.from_numpy(window).float()

    def window(self, width: int, height: int) -> NDArray[np.uint8]:
        """All instances on the pixels of an image of that size, uint8 [N, height, width]."""
        boxes = np.tile(np.array([0.0, 0.0, width, height]), (len(self), 1))
        return self.rasterise(boxes, np.arange(len(self)), height, width)

    def rasterise(
        self, boxes: NDArray[np.float64], instances: NDArray[np.int64], height: int, width: int
    ) -> NDArray[np.uint8]:
        """Instances seen through boxes on a grid of ``height`` x ``width`` cells, uint8 [R, height, width]."""
        targets = np.zeros((len(boxes), height, width), dtype=np.uint8)
        rings: list[NDArray[np.float64]] = []
        ring_counts: list[tuple[int, int]] = []
        decoded: dict[int, NDArray[np.uint8]] = {}
        grid = _grid_maps(boxes, self.scale, self.shift, height, width)
        for row, instance in enumerate(instances.tolist()):
            outline = self.outlines[instance]
            if isinstance(outline, Rle):
                if instance not in decoded:
                    decoded[instance] = outline.decode()
                targets[row] = _sample(decoded[instance], grid[row], height, width)
            else:
                factor, offset = grid[row, :2], grid[row, 2:]
                rings += [(ring * factor + offset).ravel() for ring in outline]
                ring_counts.append((row, len(outline)))
        if rings:
            rows = [row for row, _ in ring_counts]
            targets[rows] = _rasterise_rings(rings, [count for _, count in ring_counts], height, width)
        return targets


def _grid_maps(
    boxes: NDArray[np.float64], scale: tuple[float, float], shift: tuple[float, float], height: int, width: int
) -> NDArray[np.float64]:
    """Per box the map from an outline's points to grid cells: factor x, factor y, offset x, offset y; [R, 4]."""
    # The 0.1 pixel is detectron2's guard for boxes without extent (structures/masks.py).
    cells = np.array([width, height]) / np.maximum(boxes[:, 2:] - boxes[:, :2], 0.1)
    return np.concatenate([cells * np.array(scale), (np.array(shift) - boxes[:, :2]) * cells], axis=1)


def _rasterise_rings(rings: list[NDArray[np.float64]], counts: list[int], height: int, width: int) -> NDArray[np.uint8]:
    """COCO's rasteriser in one call for all rings; the rings of one instance are united. uint8 [R, height, width]."""
    runs: list[Any] = coco_mask.frPyObjects(rings, height, width)
    if len(runs) != len(counts):
        starts = np.cumsum([0, *counts])
        runs = [coco_mask.merge(runs[a:b]) if b - a > 1 else runs[a] for a, b in itertools.pairwise(starts)]
    decoded: NDArray[np.uint8] = coco_mask.decode(runs)
    return decoded.transpose(2, 0, 1)


def _sample(mask: NDArray[np.uint8], grid: NDArray[np.float64], height: int, width: int) -> NDArray[np.uint8]:
    """The mask at the centres of the grid's cells; 0 outside the picture."""
    columns = np.floor((np.arange(width) + 0.5 - grid[2]) / grid[0]).astype(np.int64)
    rows = np.floor((np.arange(height) + 0.5 - grid[3]) / grid[1]).astype(np.int64)
    known_x, known_y = (columns >= 0) & (columns < mask.shape[1]), (rows >= 0) & (rows < mask.shape[0])
    sampled = mask[np.where(known_y, rows, 0)[:, None], np.where(known_x, columns, 0)[None, :]]
    result: NDArray[np.uint8] = sampled * (known_y[:, None] & known_x[None, :])
    return result
