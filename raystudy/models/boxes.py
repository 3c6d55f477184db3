"""Arithmetic of boxes: xyxy, continuous coordinates (width is ``x2 - x1``; Detectron's ``+ 1`` is not followed).

All functions work on any leading dimensions and on the device of their input.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchvision.ops import nms

MAX_LOG_SCALE = math.log(1000 / 16)
"""Decoded boxes grow at most by this factor, as in Detectron (``BBOX_XFORM_CLIP``)."""


def pairwise_iou(ours: Tensor, others: Tensor) -> Tensor:
    """Intersection over union, [..., G, 4] and [..., N, 4] to [..., G, N]; 0 where both boxes are empty."""
    x1, y1, x2, y2 = ours.unsqueeze(-2).unbind(-1)[0:4]
    u1, v1, u2, v2 = others.unsqueeze(-3).unbind(-1)[0:4]
    width = (torch.minimum(x2, u2) - torch.maximum(x1, u1)).clamp_(min=0)
    height = (torch.minimum(y2, v2) - torch.maximum(y1, v1)).clamp_(min=0)
    intersection = width.mul_(height)
    union = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - intersection
    return intersection / union.clamp_(min=torch.finfo(union.dtype).tiny)


def encode(boxes: Tensor, references: Tensor, weights: tuple[float, float, float, float]) -> Tensor:
    """Regression targets (dx, dy, dw, dh) of ``boxes`` seen from ``references`` (Girshick 2014, appendix C)."""
    reference_sizes = references[..., 2:] - references[..., :2]
    sizes = boxes[..., 2:] - boxes[..., :2]
    shift = (boxes[..., :2] + boxes[..., 2:] - references[..., :2] - references[..., 2:]) * 0.5 / reference_sizes
    scale = (sizes / reference_sizes).log()
    return torch.cat([shift, scale], -1) * boxes.new_tensor(weights)


def decode(deltas: Tensor, references: Tensor, weights: tuple[float, float, float, float]) -> Tensor:
    """The boxes that ``deltas`` make of ``references``: the inverse of ``encode``, with growth limited."""
    deltas = deltas / deltas.new_tensor(weights)
    sizes = references[..., 2:] - references[..., :2]
    centres = references[..., :2] + 0.5 * sizes + deltas[..., :2] * sizes
    half = 0.5 * sizes * deltas[..., 2:].clamp(max=MAX_LOG_SCALE).exp()
    return torch.cat([centres - half, centres + half], -1)


def clip(boxes: Tensor, limits: Tensor) -> Tensor:
    """``boxes`` inside their picture; ``limits`` [..., 4] holds width, height, width, height.

    What is no number becomes 0: a network that diverges must give a loss that is not finite, and RoI kernels read
    memory at places that boxes give.
    """
    return torch.minimum(boxes.nan_to_num(nan=0.0).clamp(min=0), limits)


def long_enough(boxes: Tensor, shortest: float) -> Tensor:
    """Which boxes have both sides of at least ``shortest`` pixels."""
    return (boxes[..., 2:] - boxes[..., :2] >= shortest).all(-1)


def grouped_nms(boxes: Tensor, scores: Tensor, groups: Tensor, iou: float) -> Tensor:
    """Non-maximum suppression within each group (a class of a picture, a level of a picture).

    Args:
        boxes: [N, 4].
        scores: [N].
        groups: int64 [N].
        iou: boxes that overlap a better one of their group by more than this are dropped.

    Returns:
        bool [N], which boxes stay.
    """
    keep = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    if len(boxes) == 0:
        return keep
    if boxes.device.type != "cpu":
        # One call for all groups, each moved to a place of its own: a call costs more than the extra pairs.
        offset = groups.to(boxes.dtype) * (boxes.max() + 1)
        keep[nms(boxes + offset[:, None], scores, iou)] = True
        return keep
    order = groups.argsort(dim=0, stable=True)
    counts = torch.unique_consecutive(groups[order], return_counts=True)[1]
    for members in torch.split(order, counts.tolist()):
        keep[members[nms(boxes[members], scores[members], iou)]] = True
    return keep


def padded_boxes(boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Boxes of all pictures, padded to the same number: [B, R, 4], and which are real: bool [B, R]."""
    padded: Tensor = pad_sequence(list(boxes), batch_first=True)
    counts = torch.tensor([len(own) for own in boxes], device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device) < counts[:, None]
