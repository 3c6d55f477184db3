"""The one building block that backbones, FPN and heads share: a convolution with its norm."""

import torch
from torch import Tensor, nn

from raystudy.models.normalization import NormFactory


def conv(inputs: int, outputs: int, kernel: int, norm: nn.Module, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution that keeps its size (up to ``stride``); it has a bias only when no norm follows."""
    bias = isinstance(norm, nn.Identity)
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=bias)


def conv_norm(inputs: int, outputs: int, kernel: int, norm: NormFactory, *, relu: bool, stride: int = 1) -> nn.Module:
    """Convolution, norm and, when asked for, ReLU; submodules ``0``, ``1``, ``2``."""
    layer = norm(outputs)
    parts: list[nn.Module] = [conv(inputs, outputs, kernel, layer, stride=stride), layer]
    return nn.Sequential(*parts, nn.ReLU(inplace=True)) if relu else nn.Sequential(*parts)


def exact(x: Tensor) -> Tensor:
    """``x`` in at least float32: boxes and losses are not computed in half precision. float64 stays what it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
