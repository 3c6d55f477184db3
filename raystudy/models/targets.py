"""Ground truth as tensors on the device, and the choice of the anchors and RoIs that the losses see."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from raystudy.data.batch import Target
from raystudy.models.boxes import pairwise_iou


@dataclass(slots=True)
class GroundTruth:
    """The instances of a batch, padded to the same number G (at least 1) a picture."""

    boxes: Tensor
    """float32 [B, G, 4]; padding is the unit box, so that its logarithms are finite."""

    labels: Tensor
    """int64 [B, G]; 0 in the padding."""

    valid: Tensor
    """bool [B, G], False in the padding."""


def pad_targets(targets: Sequence[Target], device: torch.device) -> GroundTruth:
    """The boxes and labels of all pictures in one tensor each, sent to ``device`` in one copy."""
    longest = max([1, *(len(target.boxes) for target in targets)])
    boxes = torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(len(targets), longest, 1)
    labels = torch.zeros(len(targets), longest, dtype=torch.int64)
    for row, target in enumerate(targets):
        boxes[row, : len(target.boxes)] = target.boxes
        labels[row, : len(target.boxes)] = target.labels
    labels = labels.to(device, non_blocking=True)
    return GroundTruth(boxes.to(device, non_blocking=True), labels, labels > 0)


@dataclass(slots=True)
class Match:
    """The instance that each candidate box overlaps most."""

    iou: Tensor
    """float32 [B, N]: overlap with that instance; -1 in pictures without instances."""

    instance: Tensor
    """int64 [B, N]."""

    best_of_instance: Tensor
    """bool [B, N]: no usable candidate overlaps some instance more (ties included)."""


def match(truth: GroundTruth, candidates: Tensor, usable: Tensor | None = None) -> Match:
    """Match candidates [N, 4] or [B, N, 4] to instances; ``usable`` bool [B, N] limits ``best_of_instance``."""
    iou = pairwise_iou(truth.boxes, candidates).masked_fill_(~truth.valid[:, :, None], -1.0)
    best, instance = iou.max(1)
    offered = iou if usable is None else iou.masked_fill(~usable[:, None], -1.0)
    highest = offered.amax(2, keepdim=True)
    # An instance that touches no usable candidate has none: without the second test, all that miss it would be best.
    best_of_instance = ((offered == highest) & (highest > 0)).any(1)
    return Match(best, instance, best_of_instance)


@dataclass(slots=True)
class Sample:
    """The candidates drawn in each picture: first foreground, then background, then places that hold nothing."""

    index: Tensor
    """int64 [B, M]."""

    is_foreground: Tensor
    """bool [B, M]."""

    is_drawn: Tensor
    """bool [B, M]; False where a picture has fewer than M."""


def draw(foreground: Tensor, background: Tensor, number: int, fraction: float) -> Sample:
    """Draw at most ``number`` candidates of each picture, of which at most ``fraction`` are foreground.

    Both inputs are bool [B, N]. Uses the global random generator of their device, once for the whole batch.
    M is ``number``, or N when that is less.
    """
    candidates = foreground.shape[1]
    keys = torch.rand(foreground.shape, device=foreground.device)
    front = min(int(number * fraction), candidates)
    fg_key, fg_index = keys.masked_fill(~foreground, -1.0).topk(front)
    bg_key, bg_index = keys.masked_fill(~background, -1.0).topk(min(number, candidates))
    is_fg = fg_key >= 0
    room = number - is_fg.sum(1, keepdim=True)
    is_bg = (bg_key >= 0) & (torch.arange(bg_key.shape[1], device=keys.device) < room)
    index, drawn = torch.cat([fg_index, bg_index], 1), torch.cat([is_fg, is_bg], 1)
    is_foreground = torch.cat([is_fg, torch.zeros_like(is_bg)], 1)
    order = drawn.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, : min(number, candidates)]
    return Sample(index.gather(1, order), is_foreground.gather(1, order), drawn.gather(1, order))
