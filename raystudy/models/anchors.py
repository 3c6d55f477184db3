"""Anchors of all pyramid levels, made once for each input size."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from raystudy.spec.model import RpnSpec


def level_anchors(size: int, stride: int, spec: RpnSpec) -> Tensor:
    """The anchors of one cell around the origin: float32 [A, 4], in the order of ``anchor_ratios``.

    Detectron rounds width and height at the scale of the stride and then enlarges; torchvision rounds half sides at
    the final scale.
    """
    boxes = []
    for ratio in spec.anchor_ratios:
        if spec.anchor_style == "detectron":
            width = round(math.sqrt(stride * stride / ratio))
            height = round(width * ratio)
            half_width, half_height = width * size / stride / 2, height * size / stride / 2
        else:
            half_width = float(round(size / math.sqrt(ratio) / 2))
            half_height = float(round(size * math.sqrt(ratio) / 2))
        boxes.append((-half_width, -half_height, half_width, half_height))
    return torch.tensor(boxes, dtype=torch.float32)


def anchors_per_cell(spec: RpnSpec, levels: int) -> int:
    """Anchors around each cell of a map; without a pyramid they have all sizes."""
    return len(spec.anchor_ratios) * (len(spec.anchor_sizes) if levels == 1 else 1)


@lru_cache(maxsize=64)
def grid_anchors(
    spec: RpnSpec, shapes: tuple[tuple[int, int], ...], strides: tuple[int, ...], device: torch.device
) -> Tensor:
    """All anchors of an input: float32 [N, 4]; level by level, row by row, cell by cell, size by size, ratio
    by ratio.

    ``shapes`` are the heights and widths of the feature maps. Anchors sit on the centre of their cell in Detectron, on
    its upper left corner in torchvision.
    """
    offset = 0.5 if spec.anchor_style == "detectron" else 0.0
    sizes = (spec.anchor_sizes,) if len(strides) == 1 else tuple((size,) for size in spec.anchor_sizes)
    levels = []
    for own, stride, (height, width) in zip(sizes, strides, shapes, strict=True):
        y = (torch.arange(height, dtype=torch.float32) + offset) * stride
        x = (torch.arange(width, dtype=torch.float32) + offset) * stride
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        centres = torch.stack([columns, rows, columns, rows], -1).reshape(-1, 1, 4)
        levels.append((centres + torch.cat([level_anchors(size, stride, spec) for size in own])).reshape(-1, 4))
    return torch.cat(levels).to(device)
