"""Both forms of RoIAlign against torchvision's MultiScaleRoIAlign, outputs and gradients."""

import pytest
import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign

from raystudy.models.roi_pool import RoiPooler

STRIDES = (4, 8, 16, 32)


def _features(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = [(96 // stride, 128 // stride) for stride in STRIDES]
    return [torch.randn(2, 5, *size, generator=generator, dtype=dtype).requires_grad_() for size in sizes]


def _boxes() -> Tensor:
    """Boxes of all sizes, some reaching out of the picture or lying outside, some without area."""
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(2, 30, 2, generator=generator) * torch.tensor([150.0, 120.0]) - 20
    sides = torch.rand(2, 30, 2, generator=generator) ** 3 * 120
    boxes = torch.cat([corner, corner + sides], -1)
    boxes[0, 0] = torch.tensor([200.0, 200, 240, 240])
    boxes[1, 1, 2:] = boxes[1, 1, :2]
    return boxes


@pytest.mark.parametrize("scale", [56.0, 224.0])
@pytest.mark.parametrize("form", ["by_matrices", "by_kernels"])
def test_pooling_is_torchvisions(form: str, scale: float) -> None:
    boxes = _boxes()
    valid = torch.rand(2, 30, generator=torch.Generator().manual_seed(2)) < 0.8
    ours, theirs = _features(), _features()
    pooled = getattr(RoiPooler(STRIDES, 7, 2, scale), form)(ours, boxes, valid)
    pool = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2, canonical_scale=int(scale))
    named = {str(level): feature for level, feature in enumerate(theirs)}
    expected = pool(named, [own[keep] for own, keep in zip(boxes, valid, strict=True)], [(96, 128)] * 2)
    torch.testing.assert_close(pooled, expected, rtol=1e-4, atol=1e-5)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(3))
    (pooled * weight).sum().backward()
    (expected * weight).sum().backward()
    for one, other in zip(ours, theirs, strict=True):
        # A level that is coarser than any box needs is left out of the graph.
        gradient = torch.zeros_like(one) if one.grad is None else one.grad
        torch.testing.assert_close(gradient, other.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["by_matrices", "by_kernels"])
@pytest.mark.parametrize("number", [0, 3])
def test_no_boxes_give_an_empty_result_with_zero_gradients(form: str, number: int) -> None:
    features = _features()
    boxes, valid = torch.zeros(2, number, 4), torch.zeros(2, number, dtype=torch.bool)
    pooled = getattr(RoiPooler(STRIDES, 7, 2), form)(features, boxes, valid)
    assert pooled.shape == (0, 5, 7, 7)
    pooled.sum().backward()
    assert features[0].grad is not None
    assert not any(feature.grad.any() for feature in features if feature.grad is not None)


def test_a_box_of_the_canonical_scale_is_pooled_at_stride_16() -> None:
    boxes = torch.tensor([[0.0, 0, 111, 111], [0, 0, 112, 112], [0, 0, 224, 224], [0, 0, 900, 900]])
    assert RoiPooler(STRIDES, 7, 2).levels(boxes).tolist() == [0, 1, 2, 3]
