"""Binary masks as COCO segmentations: polygons along the pixels' edges, which decode to the same bits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask


def to_segmentation(mask: NDArray[np.bool_]) -> Any:
    """A COCO segmentation that pycocotools decodes to exactly ``mask``.

    Parts that touch nowhere along an edge become polygons of their own. COCO's polygons cannot have holes, so a mask
    with a hole becomes a compressed RLE.

    Args:
        mask: bool [H, W].
    """
    rings, has_hole = trace_rings(mask)
    if not has_hole:
        return [[float(value) for point in ring for value in point] for ring in rings]
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")}


def trace_rings(mask: NDArray[np.bool_]) -> tuple[list[list[tuple[int, int]]], bool]:
    """The closed outlines of a mask as lists of corners (x, y) on the pixel grid, and whether one encloses a hole.

    Pixels that touch only at a corner belong to different rings. Around each grid point lie four pixels; the point is
    a corner where one or three of them are set (a turn), or two that are diagonal (two turns). From every corner one
    horizontal and one vertical edge go out, so corners of a row pair up from left to right, those of a column from
    top to bottom, and a ring alternates between the two pairings.
    """
    padded = np.pad(mask.astype(np.int8), 1)
    top_left, top_right = padded[:-1, :-1], padded[:-1, 1:]
    bottom_left, bottom_right = padded[1:, :-1], padded[1:, 1:]
    xs, ys, to_x, to_y, solid = [], [], [], [], []
    total = top_left + top_right + bottom_left + bottom_right
    diagonal = (total == 2) & (top_left == bottom_right)
    quadrants = ((top_left, -1, -1), (top_right, 1, -1), (bottom_left, -1, 1), (bottom_right, 1, 1))
    for quadrant, dx, dy in quadrants:
        alone = ((total == 1) | diagonal) & (quadrant == 1)
        missing = (total == 3) & (quadrant == 0)
        y, x = np.nonzero(alone | missing)
        xs.append(x)
        ys.append(y)
        to_x.append(np.full(len(x), dx))
        to_y.append(np.full(len(x), dy))
        solid.append(alone[y, x])
    x, y, dx, dy, is_solid = (np.concatenate(parts) for parts in (xs, ys, to_x, to_y, solid))
    order = np.lexsort((dx, x, y))
    x, y, dx, dy, is_solid = x[order], y[order], dx[order], dy[order], is_solid[order]
    across = np.arange(len(x)) ^ 1
    by_column = np.lexsort((dy, y, x))
    down = np.empty_like(by_column)
    down[by_column] = by_column[np.arange(len(x)) ^ 1]
    return _walk(list(zip(x.tolist(), y.tolist(), strict=True)), across.tolist(), down.tolist(), is_solid.tolist())


def _walk(
    corners: list[tuple[int, int]], across: list[int], down: list[int], solid: list[bool]
) -> tuple[list[list[tuple[int, int]]], bool]:
    seen = [False] * len(corners)
    rings, has_hole = [], False
    for start in range(len(corners)):
        if seen[start]:
            continue
        # The first corner of a ring is its topmost, leftmost: an outer ring turns there around a set pixel.
        has_hole = has_hole or not solid[start]
        ring, at = [], start
        while not seen[at]:
            for partner in (across, down):
                seen[at] = True
                ring.append(corners[at])
                at = partner[at]
        rings.append(ring)
    return rings, has_hole
