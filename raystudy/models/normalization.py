"""Norm layers by name, one factory for every place of the network: the norm is an axis, never a side effect of init.

All batch norms here share the state dict of ``torch.nn.BatchNorm2d``, so that BN weights load into ``bn``, ``sync_bn``
and ``frozen_bn`` alike, and all of them accept empty batches: a mask branch may see no RoI at all.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from raystudy.errors import SpecError
from raystudy.spec.model import NORMS, ModelSpec

NormFactory = Callable[[int], nn.Module]


def norm_factory(spec: ModelSpec) -> NormFactory:
    """From a number of channels to a norm layer, as ``spec`` says; ``none`` gives ``nn.Identity``.

    Raises:
        SpecError: an unknown norm, or (from the factory) a width that cannot be cut into groups.
    """
    eps = spec.norm_eps
    if spec.norm == "gn":
        return lambda channels: nn.GroupNorm(num_groups(spec, channels), channels, eps=eps)
    if spec.norm == "bn":
        return lambda channels: BatchNorm2d(channels, eps=eps)
    if spec.norm == "sync_bn":
        return lambda channels: SyncBatchNorm2d(channels, eps=eps)
    if spec.norm == "frozen_bn":
        return lambda channels: FrozenBatchNorm2d(channels, eps=eps)
    if spec.norm == "none":
        return lambda channels: nn.Identity()
    raise SpecError(f"norm is {spec.norm!r}, but must be one of {', '.join(NORMS)}")


def head_norm_factory(spec: ModelSpec) -> NormFactory:
    """The norm of FPN and heads: that of the backbone, but none for ``frozen_bn``.

    Frozen statistics exist only where pre-training estimated them; Detectron's frozen-BN models have convolutions with
    bias in FPN and heads too.
    """
    if spec.norm == "frozen_bn":
        return lambda channels: nn.Identity()
    return norm_factory(spec)


def num_groups(spec: ModelSpec, channels: int) -> int:
    """Groups of a GN layer with ``channels`` channels (Wu and He 2018; ResNeXt's widths need the second rule)."""
    if channels % spec.norm_groups == 0:
        return spec.norm_groups
    if channels % spec.norm_group_channels == 0:
        return channels // spec.norm_group_channels
    raise SpecError(
        f"gn cannot cut {channels} channels into {spec.norm_groups} groups or into groups of "
        f"{spec.norm_group_channels} channels; change norm_groups or norm_group_channels"
    )


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm that passes an empty batch through, with zero gradients for its parameters."""

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, H, W] to the same; N may be 0, which leaves the statistics as they are."""
        if input.numel() == 0:
            return input * self.weight[:, None, None] + self.bias[:, None, None]
        return super().forward(input)


class FrozenBatchNorm2d(nn.Module):
    """Batch norm as a fixed affine map: statistics, weight and bias are buffers and never change."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        state_dict.pop(prefix + "num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, H, W] to the same."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return input * scale.to(input.dtype)[:, None, None] + shift.to(input.dtype)[:, None, None]


class SyncBatchNorm2d(BatchNorm2d):
    """Batch norm over the images of all workers, on any backend (torch's own refuses CPU groups).

    Workers may hold different numbers of pixels, or none: each joins every all-reduce. With one worker, without a
    process group, and in evaluation it is plain batch norm.
    """

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, H, W] to the same; N may be 0 on some workers, or on all."""
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(input)
        output, mean, variance, count = _SyncBatchNorm.apply(input, self.weight, self.bias, self.eps)
        self._update(mean, variance, count)
        return output  # type: ignore[no-any-return]

    @torch.no_grad()
    def _update(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Moving averages; a batch that is empty everywhere leaves them, without asking the device for its count."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        momentum = (count > 0).to(count.dtype) * (self.momentum or 0.0)
        unbiased = variance * (count / (count - 1).clamp(min=1))
        self.running_mean += momentum * (mean - self.running_mean).to(self.running_mean.dtype)
        self.running_var += momentum * (unbiased - self.running_var).to(self.running_var.dtype)
        self.num_batches_tracked += (count > 0).to(torch.int64)[0]


class _SyncBatchNorm(torch.autograd.Function):
    """Ioffe and Szegedy 2015 over all workers, in two passes (sum, then centred squares), so that no digits cancel.

    The gradient of an all-reduced sum is the all-reduced sum of the gradients: the two sums of the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        pixels = input.numel() // input.shape[1]
        total = torch.cat([values.sum((0, 2, 3)), values.new_full((1,), pixels)])
        dist.all_reduce(total)
        count = total[-1:]
        mean = total[:-1] / count.clamp(min=1)
        centred = values - mean[:, None, None]
        variance = centred.square().sum((0, 2, 3))
        dist.all_reduce(variance)
        variance = variance / count.clamp(min=1)
        inverse = (variance + eps).rsqrt()
        normalised = centred * inverse[:, None, None]
        ctx.save_for_backward(normalised, weight, inverse, count)
        output = normalised * weight[:, None, None] + bias[:, None, None]
        ctx.mark_non_differentiable(mean, variance, count)
        return output.to(input.dtype), mean, variance, count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        normalised, weight, inverse, count = ctx.saved_tensors
        dtype, gradient = gradient.dtype, gradient.to(normalised.dtype)
        bias_gradient = gradient.sum((0, 2, 3))
        weight_gradient = (gradient * normalised).sum((0, 2, 3))
        sums = torch.stack([bias_gradient, weight_gradient])
        dist.all_reduce(sums)
        mean_gradient, mean_product = sums / count.clamp(min=1)
        centred = gradient - mean_gradient[:, None, None] - normalised * mean_product[:, None, None]
        input_gradient = (centred * (weight * inverse)[:, None, None]).to(dtype)
        return input_gradient, weight_gradient.to(weight.dtype), bias_gradient.to(weight.dtype), None
