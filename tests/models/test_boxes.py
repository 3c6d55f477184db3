"""Box arithmetic against torchvision's, and by hand."""

import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import batched_nms, box_iou

from raystudy.models.boxes import clip, decode, encode, grouped_nms, long_enough, pairwise_iou


def _boxes(number: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = 80 * torch.rand(number, 2, generator=generator)
    return torch.cat([corner, corner + 1 + 50 * torch.rand(number, 2, generator=generator)], 1)


def test_iou_is_torchvisions_for_each_picture_of_a_batch() -> None:
    ours, others = torch.stack([_boxes(7, 0), _boxes(7, 1)]), torch.stack([_boxes(20, 2), _boxes(20, 3)])
    expected = torch.stack([box_iou(a, b) for a, b in zip(ours, others, strict=True)])
    torch.testing.assert_close(pairwise_iou(ours, others), expected)


def test_empty_boxes_overlap_nothing() -> None:
    assert pairwise_iou(torch.zeros(1, 4), torch.tensor([[0.0, 0, 0, 0], [0, 0, 1, 1]])).tolist() == [[0, 0]]


def test_codes_are_torchvisions_and_decode_inverts_encode() -> None:
    weights = (10.0, 10.0, 5.0, 5.0)
    boxes, references = _boxes(30, 0), _boxes(30, 1)
    codes = encode(boxes, references, weights)
    theirs = BoxCoder(weights)
    torch.testing.assert_close(codes, theirs.encode_single(boxes, references))
    torch.testing.assert_close(decode(codes, references, weights), boxes, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(decode(5 * codes, references, weights), theirs.decode_single(5 * codes, references))


def test_clip_keeps_boxes_inside_and_short_ones_are_found() -> None:
    clipped = clip(torch.tensor([[-5.0, 2, 30, 40], [25, 5, 40, 6]]), torch.tensor([20.0, 30, 20, 30]))
    assert clipped.tolist() == [[0, 2, 20, 30], [20, 5, 20, 6]]
    assert long_enough(clipped, 1e-3).tolist() == [True, False]


def test_nms_is_torchvisions_within_groups() -> None:
    boxes, groups = _boxes(200, 0), torch.arange(200) % 3
    scores = torch.rand(200, generator=torch.Generator().manual_seed(1))
    expected = torch.zeros(200, dtype=torch.bool)
    expected[batched_nms(boxes, scores, groups, 0.4)] = True
    assert torch.equal(grouped_nms(boxes, scores, groups, 0.4), expected)
    assert not grouped_nms(boxes[:0], scores[:0], groups[:0], 0.4).numel()
