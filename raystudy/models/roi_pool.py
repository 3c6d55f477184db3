"""RoIAlign over a pyramid, in two forms of the same function.

Bilinear sampling on a regular grid is separable: for one RoI it is ``Y @ feature @ X.T`` with small matrices. On a CPU
and small maps two batched matrix products, forward and backward, beat torchvision's loops; elsewhere torchvision's
kernels win. Both give the same numbers up to rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import roi_align, roi_pool

from raystudy.models.layers import exact

MAX_MATRIX_AREA = 64 * 64
"""Cells of the finest map up to which matrices are used on a CPU: where they were as fast, forward and backward.

Their work grows with the area of the map, that of the kernels does not.
"""


@dataclass(frozen=True, slots=True)
class RoiPooler:
    """Pools boxes from the pyramid level that fits their size (Lin et al. 2017, eq. 1)."""

    strides: tuple[int, ...]
    """Of the levels to pool from, finest first: powers of two."""

    size: int
    """Side of the pooled grid."""

    sampling_ratio: int
    """Samples of a grid cell along each axis."""

    canonical_scale: float = 224.0
    """A box of this side is pooled from the level of stride 16."""

    takes_maximum: bool = False
    """RoIPool (Girshick 2015) in place of RoIAlign: whole cells, and the maximum of each."""

    def __call__(self, features: Sequence[Tensor], boxes: Tensor, valid: Tensor) -> Tensor:
        """Pool the valid ones of ``boxes``.

        Args:
            features: maps [B, C, H / s, W / s], one for each of ``strides``.
            boxes: float32 [B, R, 4], pixels of the input.
            valid: bool [B, R].

        Returns:
            [valid.sum(), C, size, size], picture by picture.
        """
        features = features[: len(self.strides)]
        small = features[0].shape[-2] * features[0].shape[-1] <= MAX_MATRIX_AREA and self.sampling_ratio > 0
        # It is their backward pass that makes the kernels slow.
        if boxes.device.type == "cpu" and small and not self.takes_maximum and torch.is_grad_enabled():
            return self.by_matrices(features, boxes, valid)
        return self.by_kernels(features, boxes, valid)

    def levels(self, boxes: Tensor) -> Tensor:
        """Index into ``strides`` for each box, int64."""
        sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1).sqrt()
        # 1e-6 as in Detectron: a box of exactly the canonical scale must not fall a level.
        octave = torch.floor(torch.log2(sides / self.canonical_scale + 1e-6))
        finest = self.strides[0].bit_length() - 5
        return (octave - finest).clamp(0, len(self.strides) - 1).to(torch.int64)

    def by_kernels(self, features: Sequence[Tensor], boxes: Tensor, valid: Tensor) -> Tensor:
        """torchvision's RoIAlign or RoIPool, level by level: each is called, so that all workers run the same graph."""
        image = torch.arange(len(boxes), device=boxes.device)[:, None].expand(boxes.shape[:2])
        rois = torch.cat([image[valid][:, None].to(boxes.dtype), boxes[valid]], 1)
        levels = self.levels(rois[:, 1:])
        order, parts = [], []
        for level, (feature, stride) in enumerate(zip(features, self.strides, strict=True)):
            index = torch.nonzero(levels == level)[:, 0]
            if self.takes_maximum:
                part = roi_pool(feature, rois[index], self.size, 1 / stride)
            else:
                part = roi_align(feature, rois[index], self.size, 1 / stride, self.sampling_ratio, aligned=False)
            order.append(index)
            parts.append(part)
        return torch.cat(parts)[torch.cat(order).argsort()]

    def by_matrices(self, features: Sequence[Tensor], boxes: Tensor, valid: Tensor) -> Tensor:
        """The same by matrix products: all boxes on each level, with zero weights where a box is not pooled.

        Levels coarser than any box needs are left out; the proposal network sends them gradients anyway.
        """
        batch, number = boxes.shape[:2]
        channels = features[0].shape[1]
        levels = self.levels(boxes)
        coarsest = int(levels.max()) if number else 0
        features = features[: coarsest + 1]
        rows = self._weights(boxes[..., 1::2], levels, [f.shape[-2] for f in features], choose_level=True)
        columns = self._weights(boxes[..., 0::2], levels, [f.shape[-1] for f in features], choose_level=False)
        pooled = exact(features[0].new_zeros((batch * number, self.size * channels, self.size)))
        with torch.autocast(boxes.device.type, enabled=False):
            for feature, row, column in zip(features, rows, columns, strict=True):
                height, width = feature.shape[-2:]
                by_row = exact(feature).permute(0, 2, 1, 3).reshape(batch, height, channels * width)
                half = torch.bmm(row.reshape(batch, number * self.size, height), by_row)
                half = half.view(batch * number, self.size * channels, width)
                across = column.reshape(batch * number, self.size, width).transpose(1, 2)
                pooled = torch.baddbmm(pooled, half, across)
        shaped = pooled.view(batch * number, self.size, channels, self.size).permute(0, 2, 1, 3)
        keep = valid.reshape(-1)
        return (shaped if bool(keep.all()) else shaped[keep]).to(features[0].dtype)

    def _weights(self, ends: Tensor, levels: Tensor, lengths: list[int], choose_level: bool) -> list[Tensor]:
        """Weights of one axis, [B, R, size, length] a level: the mean of the tents around each sample.

        ``ends`` [B, R, 2] are the ends of the boxes on this axis. The weights of all levels are made at once.
        """
        device = ends.device
        stride = torch.tensor(self.strides, dtype=ends.dtype, device=device)[levels]
        start, end = (ends / stride[..., None]).unbind(-1)
        cell = (end - start).clamp(min=1.0) / self.size
        samples = self.size * self.sampling_ratio
        grid = (torch.arange(samples, dtype=ends.dtype, device=device) + 0.5) / self.sampling_ratio
        position = start[..., None] + grid * cell[..., None]
        own_length = torch.tensor(lengths, dtype=ends.dtype, device=device)[levels][..., None]
        inside = (position >= -1.0) & (position <= own_length)
        position = torch.minimum(position.clamp(min=0), own_length - 1)
        place = torch.cat([torch.arange(length, dtype=ends.dtype, device=device) for length in lengths])
        tents = (position[..., None] - place).abs_().neg_().add_(1.0).clamp_(min=0).mul_(inside[..., None])
        mean = tents.view(*ends.shape[:2], self.size, self.sampling_ratio, len(place)).mean(3)
        if choose_level:
            level_of = torch.repeat_interleave(torch.tensor(lengths, device=device))
            mean = mean * (levels[..., None, None] == level_of)
        return list(torch.split(mean, lengths, -1))
