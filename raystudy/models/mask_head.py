"""Mask branch (He et al. 2017): a small binary mask for each category in each RoI."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raystudy.data.batch import Target
from raystudy.errors import DataError
from raystudy.models.box_head import Rois
from raystudy.models.layers import conv_norm, exact
from raystudy.models.normalization import NormFactory
from raystudy.spec.model import MaskHeadSpec


class MaskHead(nn.Module):
    """3x3 convolutions with norm, a 2x2 deconvolution without, and a 1x1 convolution to one mask a category."""

    def __init__(self, spec: MaskHeadSpec, channels: int, num_categories: int, norm: NormFactory) -> None:
        super().__init__()
        self.spec = spec
        widths = [channels, *[spec.conv_channels] * spec.num_convs]
        self.convs = nn.Sequential(*(conv_norm(i, o, 3, norm, relu=True) for i, o in pairwise(widths)))
        self.deconv = nn.ConvTranspose2d(widths[-1], spec.conv_channels, 2, stride=2)
        self.mask = nn.Conv2d(spec.conv_channels, num_categories + 1, 1)

    def forward(self, pooled: Tensor) -> Tensor:
        """[N, C, P, P] to mask logits [N, K + 1, 2P, 2P], float32; category 0 is unused."""
        hidden = F.relu(self.deconv(self.convs(pooled)), inplace=True)
        return exact(self.mask(hidden))

    def loss(self, logits: Tensor, labels: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """Binary cross entropy of the RoI's own category, mean over all pixels; 0 (with gradients) without RoIs.

        ``labels`` int64 [N], ``masks`` float32 [N, 2P, 2P] of 0 and 1.
        """
        if len(labels) == 0:
            return {"loss_mask": logits.sum() * 0.0}
        own = logits[torch.arange(len(labels), device=labels.device), labels]
        return {"loss_mask": F.binary_cross_entropy_with_logits(own, masks.to(own.dtype))}

    def probabilities(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The masks of the categories that were detected, [N, 2P, 2P] in 0 to 1."""
        return logits[torch.arange(len(labels), device=labels.device), labels].sigmoid()


def mask_rois(rois: Rois) -> tuple[Tensor, Tensor]:
    """The foreground RoIs, padded to the most that a picture of the batch has: boxes [B, R, 4] and valid [B, R]."""
    longest = int(rois.is_foreground.sum(1).max())
    return rois.boxes[:, :longest], rois.is_foreground[:, :longest]


def mask_targets(targets: Sequence[Target], rois: Rois, size: int) -> Tensor:
    """What each foreground RoI should show: float32 [F, size, size] of 0 and 1 on the RoIs' device.

    Raises:
        DataError: an instance without a mask.
    """
    boxes, instances, foreground = rois.boxes.cpu(), rois.instance.cpu(), rois.is_foreground.cpu()
    parts = [torch.zeros(0, size, size)]
    for picture, target in enumerate(targets):
        chosen = foreground[picture]
        if not bool(chosen.any()):
            continue
        if target.masks is None:
            raise DataError("a picture has boxes but no masks; give segmentations, or set model.mask_head to none")
        parts.append(target.masks.crop(boxes[picture][chosen], instances[picture][chosen], size))
    return torch.cat(parts).to(rois.boxes.device, non_blocking=True)
