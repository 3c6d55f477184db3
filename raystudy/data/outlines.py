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
    x, y, dx, dy, is_solid = _corners(mask)
    order = np.lexsort((dx, x, y))
    x, y, dy = x[order], y[order], dy[order]
    across = np.arange(len(x)) ^ 1
    by_column = np.lexsort((dy, y, x))
    down = np.empty_like(by_column)
    down[by_column] = by_column[across]
    corners = list(zip(x.tolist(), y.tolist(), strict=True))
    return _walk(corners, across.tolist(), down.tolist(), is_solid[order].tolist())


def _corners(mask: NDArray[np.bool_]) -> tuple[NDArray[Any], ...]:
    """Every turn of an outline: x, y, the directions of its two edges, and whether it goes around a set pixel."""
    padded = np.pad(mask.astype(np.int8), 1)
    quadrants = (
        (padded[:-1, :-1], -1, -1),
        (padded[:-1, 1:], 1, -1),
        (padded[1:, :-1], -1, 1),
        (padded[1:, 1:], 1, 1),
    )
    total = sum(quadrant for quadrant, _, _ in quadrants)
    single = (total == 1) | ((total == 2) & (quadrants[0][0] == quadrants[3][0]))
    found = []
    for quadrant, dx, dy in quadrants:
        alone = single & (quadrant == 1)
        rows, columns = np.nonzero(alone | ((total == 3) & (quadrant == 0)))
        ones = np.ones(len(rows), dtype=np.int64)
        found.append((columns, rows, dx * ones, dy * ones, alone[rows, columns]))
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


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
