"""Region proposal network (Ren et al. 2015; on a pyramid, Lin et al. 2017), vectorised over pictures and levels."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raystudy.models.anchors import anchors_per_cell, grid_anchors
from raystudy.models.boxes import clip, decode, encode, grouped_nms, long_enough
from raystudy.models.layers import exact
from raystudy.models.targets import GroundTruth, draw, match
from raystudy.spec.model import RpnSpec

UNIT_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
SHORTEST_SIDE = 1e-3
"""Pixels: proposals that clipping left without area are dropped."""


@dataclass(slots=True)
class Proposals:
    """Boxes that may hold something, padded to the same number P a picture, best first."""

    boxes: Tensor
    """float32 [B, P, 4]."""

    valid: Tensor
    """bool [B, P]."""


class RegionProposalNetwork(nn.Module):
    """3x3 convolutions, then 1x1 ones for objectness and boxes, shared by all levels. No norm, as in Detectron."""

    def __init__(self, spec: RpnSpec, channels: int, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.spec, self.strides = spec, strides
        anchors = anchors_per_cell(spec, len(strides))
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.more = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(spec.num_convs - 1))
        self.objectness = nn.Conv2d(channels, anchors, 1)
        self.box = nn.Conv2d(channels, 4 * anchors, 1)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Objectness logits [B, N_l] and box deltas [B, N_l, 4] of each level, float32, in the order of the anchors."""
        logits, deltas = [], []
        for feature in features:
            hidden = F.relu(self.conv(feature), inplace=True)
            for conv in self.more:
                hidden = F.relu(conv(hidden), inplace=True)
            logits.append(exact(self.objectness(hidden).permute(0, 2, 3, 1).flatten(1)))
            deltas.append(exact(self.box(hidden).permute(0, 2, 3, 1).reshape(len(feature), -1, 4)))
        return logits, deltas

    def anchors(self, features: Sequence[Tensor]) -> Tensor:
        """The anchors of these maps, float32 [N, 4]; made once for each set of sizes."""
        shapes = tuple((int(f.shape[-2]), int(f.shape[-1])) for f in features)
        return grid_anchors(self.spec, shapes, self.strides, features[0].device)

    def losses(
        self, logits: list[Tensor], deltas: list[Tensor], anchors: Tensor, truth: GroundTruth, limits: Tensor
    ) -> dict[str, Tensor]:
        """Losses over the drawn anchors, both divided by their number (Detectron: by 256 a picture, which is the same
        when enough anchors are to be had).

        ``limits`` [B, 4] holds width, height, width, height of each picture without padding.
        """
        spec = self.spec
        usable = self._usable(anchors, limits)
        found = match(truth, anchors, usable)
        foreground = (found.iou >= spec.foreground_iou) | found.best_of_instance
        background = (found.iou < spec.background_iou) & ~foreground
        drawn = draw(foreground & usable, background & usable, spec.anchors_per_image, spec.foreground_fraction)
        logit = torch.cat(logits, 1).gather(1, drawn.index)
        delta = _rows(torch.cat(deltas, 1), drawn.index)
        instance = found.instance.gather(1, drawn.index)
        target = encode(_rows(truth.boxes, instance), anchors[drawn.index], UNIT_WEIGHTS)
        count = drawn.is_drawn.sum().clamp(min=1)
        objectness = F.binary_cross_entropy_with_logits(logit, drawn.is_foreground.to(logit.dtype), reduction="none")
        distance = F.smooth_l1_loss(delta, target, reduction="none", beta=spec.smooth_l1_beta).sum(-1)
        return {
            "loss_rpn_objectness": (objectness * drawn.is_drawn).sum() / count,
            "loss_rpn_box": torch.where(drawn.is_foreground, distance, 0.0).sum() / count,
        }

    def _usable(self, anchors: Tensor, limits: Tensor) -> Tensor:
        """Anchors that may be trained, bool [B, N]: those that stay within ``straddle`` pixels of the picture."""
        if self.spec.straddle < 0:
            return torch.ones(len(limits), len(anchors), dtype=torch.bool, device=anchors.device)
        low = (anchors[:, :2] >= -self.spec.straddle).all(-1)
        high = (anchors[:, 2:] <= limits[:, None, 2:] + self.spec.straddle).all(-1)
        return low & high

    @torch.no_grad()
    def propose(
        self, logits: list[Tensor], deltas: list[Tensor], anchors: Tensor, limits: Tensor, for_loss: bool
    ) -> Proposals:
        """The best boxes of each picture after NMS within each level; budgets of training when ``for_loss``."""
        spec = self.spec
        budget = spec.pre_nms_train if for_loss else spec.pre_nms_test
        scores, indices, levels, first = [], [], [], 0
        for level, logit in enumerate(logits):
            score, index = logit.detach().topk(min(budget, logit.shape[1]))
            scores.append(score)
            indices.append(index + first)
            levels.append(torch.full_like(index, level))
            first += logit.shape[1]
        score, index = torch.cat(scores, 1), torch.cat(indices, 1)
        boxes = decode(_rows(torch.cat(deltas, 1).detach(), index), anchors[index], UNIT_WEIGHTS)
        boxes = clip(boxes, limits[:, None])
        group = torch.cat(levels, 1) + len(logits) * torch.arange(len(boxes), device=boxes.device)[:, None]
        candidate = long_enough(boxes, max(spec.min_size, SHORTEST_SIDE))
        keep = candidate.clone()
        keep[candidate] = grouped_nms(boxes[candidate], score[candidate], group[candidate], spec.nms_iou)
        return self._best(boxes, score.masked_fill(~keep, -torch.inf), for_loss)

    def _best(self, boxes: Tensor, scores: Tensor, for_loss: bool) -> Proposals:
        spec, pictures = self.spec, len(boxes)
        number = spec.post_nms_train if for_loss else spec.post_nms_test
        if for_loss and spec.post_nms_train_per == "batch":
            number = max(1, number * pictures // 2)
            flat = scores.flatten()
            best = flat.topk(min(number, len(flat))).indices
            scores = torch.full_like(flat, -torch.inf).scatter(0, best, flat[best]).view_as(scores)
        top, index = scores.topk(min(number, scores.shape[1]))
        return Proposals(_rows(boxes, index), top > -torch.inf)


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """``values`` [B, N, D] at ``index`` [B, M]: [B, M, D]."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))
