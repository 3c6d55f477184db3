"""Soft masks on boxes -> COCO run-length encoding at picture size, without ever making a picture-sized mask.

A mask is interpolated inside its box only, and its runs are read off the crop. Every string equals the one that
torchvision's ``paste_masks_in_image``, the threshold and pycocotools' ``encode`` give (tested).
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as mask_api
from torch import Tensor
from torch.nn import functional

MASK_THRESHOLD = 0.5
"""A pixel belongs to the mask when its probability is above this, as in torchvision's references."""

MAX_CHUNK_PIXELS = 1 << 24
"""Crop pixels that are held at once: bounds memory for many boxes on a large picture."""

Rle = dict[str, object]
"""``{"size": [height, width], "counts": bytes}``, as pycocotools has it."""


def encode_masks(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> list[Rle]:
    """Run-length encode soft masks that lie on boxes.

    Args:
        masks: float32 [D, M, M], probability on a grid over the box.
        boxes: float32 [D, 4], xyxy in pixels of the picture.
        size: height and width of the picture, pixels.
    """
    if len(masks) == 0:
        return []
    padded, boxes = _with_border(masks.detach().cpu(), boxes.detach().cpu())
    corners: list[list[int]] = boxes.tolist()
    counts: list[bytes] = []
    for first, last in pairwise(_chunk_ends(corners)):
        counts += _encode_chunk(padded[first:last], corners[first:last], size)
    return [{"size": [size[0], size[1]], "counts": string} for string in counts]


def areas(rles: Sequence[Rle]) -> NDArray[np.float64]:
    """Area [D] of each mask, pixels."""
    # In blocks: pycocotools 2.0.11 overflows on more than 255 masks in one call (it makes their number a uint8).
    blocks = [mask_api.area(list(rles[first : first + 255])) for first in range(0, len(rles), 255)]
    return np.concatenate([*blocks, np.zeros(0)]).astype(np.float64)


def _with_border(masks: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Masks with a border of one zero pixel, and the int64 boxes grown alike: Detectron's way, so that edges are soft.

    The arithmetic is torchvision's (``expand_masks``, ``expand_boxes``) operation by operation: boxes are truncated
    to whole pixels after it, so that a last bit would show.
    """
    scale = float(masks.shape[-1] + 2) / masks.shape[-1]
    half = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * scale
    centre = (boxes[:, 2:] + boxes[:, :2]) * 0.5
    return functional.pad(masks, (1, 1, 1, 1)), torch.cat([centre - half, centre + half], dim=1).to(torch.int64)


def _chunk_ends(corners: list[list[int]]) -> list[int]:
    """Indices that cut the masks into chunks of at most ``MAX_CHUNK_PIXELS`` (or of one mask)."""
    ends, pixels = [0], 0
    for index, (x1, y1, x2, y2) in enumerate(corners):
        pixels += (x2 - x1 + 1) * (y2 - y1 + 1)
        if pixels > MAX_CHUNK_PIXELS and index > ends[-1]:
            ends.append(index)
            pixels = (x2 - x1 + 1) * (y2 - y1 + 1)
    return [*ends, len(corners)]


def _encode_chunk(padded: Tensor, corners: list[list[int]], size: tuple[int, int]) -> list[bytes]:
    """COCO's counts strings of some masks: crops side by side in one flat array, then array operations on all runs."""
    height, width = size
    windows = [
        (max(x1, 0), max(y1, 0), max(min(x2 + 1, width), 0), max(min(y2 + 1, height), 0)) for x1, y1, x2, y2 in corners
    ]
    columns = np.array([max(x2 - x1, 0) for x1, _, x2, _ in windows], dtype=np.int64)
    # One more row than the crop, always empty: a run never reaches from one column into the next.
    rows = np.array([max(y2 - y1, 0) + 1 for _, y1, _, y2 in windows], dtype=np.int64)
    begins = np.concatenate([[0], np.cumsum(columns * rows)])
    flat = torch.zeros(int(begins[-1]) + 1, dtype=torch.bool)
    for index, (x1, y1, x2, y2) in enumerate(corners):
        left, top, right, bottom = windows[index]
        if left >= right or top >= bottom:
            continue
        full = (max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1))
        soft = functional.interpolate(padded[index, None, None], size=full, mode="bilinear", align_corners=False)[0, 0]
        crop = soft[top - y1 : bottom - y1, left - x1 : right - x1]
        column_major = flat[int(begins[index]) : int(begins[index + 1])].view(right - left, bottom - top + 1)
        torch.gt(crop.t(), MASK_THRESHOLD, out=column_major[:, :-1])
    lefts = np.array([window[0] for window in windows], dtype=np.int64)
    tops = np.array([window[1] for window in windows], dtype=np.int64)
    owner, starts, ends = _runs(flat.numpy(), begins, rows, lefts, tops, height)
    return _counts_strings(owner, starts, ends, len(corners), height * width)


def _runs(
    flat: NDArray[np.bool_],
    begins: NDArray[np.int64],
    rows: NDArray[np.int64],
    lefts: NDArray[np.int64],
    tops: NDArray[np.int64],
    height: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Each run's mask, and its start and end (exclusive) in the picture's column-major order."""
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat[0]:
        edges = np.concatenate([[0], edges])
    owner = np.searchsorted(begins, edges[::2], side="right") - 1

    def in_picture(position: NDArray[np.int64]) -> NDArray[np.int64]:
        column, row = np.divmod(position - begins[owner], rows[owner])
        result: NDArray[np.int64] = (lefts[owner] + column) * height + tops[owner] + row
        return result

    starts, ends = in_picture(edges[::2]), in_picture(edges[1::2])
    # Runs that fill their columns from top to bottom continue in the next column: join them.
    joined = (ends[:-1] == starts[1:]) & (owner[:-1] == owner[1:])
    is_first = np.concatenate([[True], ~joined])[: len(starts)]
    is_last = np.concatenate([~joined, [True]])[: len(starts)]
    return owner[is_first], starts[is_first], ends[is_last]


def _counts_strings(
    owner: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64], num_masks: int, num_pixels: int
) -> list[bytes]:
    """COCO's counts (lengths of runs of 0 and 1 in turn, the first of 0) of each mask, as its strings."""
    runs = np.bincount(owner, minlength=num_masks)
    run_begin = np.concatenate([[0], np.cumsum(runs)])
    # Edges of each mask: start, end, start, end, ..., and the picture's end.
    lengths = 2 * runs + 1
    begins = np.concatenate([[0], np.cumsum(lengths)])
    edges = np.empty(int(begins[-1]), dtype=np.int64)
    slot = begins[owner] + 2 * (np.arange(len(owner)) - run_begin[owner])
    edges[slot], edges[slot + 1] = starts, ends
    edges[begins[1:] - 1] = num_pixels
    counts = edges.copy()
    counts[1:] -= edges[:-1]
    counts[begins[:-1]] = edges[begins[:-1]]
    # A last run of zeros that is empty is not written.
    is_written = np.ones(len(counts), dtype=bool)
    is_written[begins[1:] - 1] = (counts[begins[1:] - 1] > 0) | (lengths == 1)
    index_in_mask = np.arange(len(counts)) - np.repeat(begins[:-1], lengths)
    return _variable_length(counts, index_in_mask, is_written, begins)


def _variable_length(
    counts: NDArray[np.int64],
    index_in_mask: NDArray[np.int64],
    is_written: NDArray[np.bool_],
    begins: NDArray[np.int64],
) -> list[bytes]:
    """COCO's text form: from the fourth count on the difference to the last but one, in signed groups of 5 bits.

    A group is the character 48 + 5 bits, + 32 when another follows, lowest bits first (``rleToString`` in maskApi.c).
    """
    rest = counts.copy()
    is_difference = index_in_mask > 2
    rest[is_difference] -= counts[np.flatnonzero(is_difference) - 2]
    characters: list[NDArray[np.uint8]] = []
    used: list[NDArray[np.bool_]] = []
    is_open = is_written
    while is_open.any():
        low = rest & 0x1F
        rest = rest >> 5
        more = np.where(low & 0x10, rest != -1, rest != 0)
        characters.append((low + np.where(more, 0x20, 0) + 48).astype(np.uint8))
        used.append(is_open)
        is_open = is_open & more
    used_table = np.stack(used, axis=1)
    text = np.stack(characters, axis=1)[used_table].tobytes()
    ends = np.concatenate([[0], np.cumsum(used_table.sum(axis=1))])[begins].tolist()
    return [text[first:last] for first, last in pairwise(ends)]
