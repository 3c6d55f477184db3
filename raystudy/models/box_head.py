"""Box branch: which category, and where exactly (Girshick 2015; 4conv1fc as in Wu and He 2018)."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raystudy.data.batch import Detections
from raystudy.models.boxes import clip, decode, encode, grouped_nms, long_enough
from raystudy.models.layers import conv_norm, exact
from raystudy.models.normalization import NormFactory
from raystudy.models.rpn import Proposals
from raystudy.models.targets import GroundTruth, draw, match
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.model import BoxHeadSpec

SHORTEST_SIDE = 1e-2
"""Pixels: detections that clipping left without area are dropped."""


@dataclass(slots=True)
class Rois:
    """The RoIs drawn for the loss, padded to the same number R a picture; foreground comes first."""

    boxes: Tensor
    """float32 [B, R, 4]."""

    valid: Tensor
    """bool [B, R]."""

    is_foreground: Tensor
    """bool [B, R]."""

    instance: Tensor
    """int64 [B, R], the instance of the picture that each overlaps most."""

    labels: Tensor
    """int64 [B, R], 0 for background."""


@torch.no_grad()
def draw_rois(spec: BoxHeadSpec, proposals: Proposals, truth: GroundTruth) -> Rois:
    """Draw the RoIs of a loss from the proposals and the instances' own boxes, which Detectron adds to them."""
    boxes = torch.cat([proposals.boxes, truth.boxes], 1)
    offered = torch.cat([proposals.valid, truth.valid], 1)
    found = match(truth, boxes)
    foreground = (found.iou >= spec.foreground_iou) & offered
    # Pictures without instances have an overlap of -1 with everything: all background.
    above = found.iou.clamp(min=0) >= spec.background_iou_low
    background = above & (found.iou < spec.foreground_iou) & offered
    drawn = draw(foreground, background, spec.rois_per_image, spec.foreground_fraction)
    instance = found.instance.gather(1, drawn.index)
    return Rois(
        boxes=boxes.gather(1, drawn.index[..., None].expand(-1, -1, 4)),
        valid=drawn.is_drawn,
        is_foreground=drawn.is_foreground,
        instance=instance,
        labels=truth.labels.gather(1, instance) * drawn.is_foreground,
    )


class BoxHead(nn.Module):
    """Convolutions with norm, fully connected layers, and two linear predictors; boxes are regressed by category,
    or for all categories alike when the spec says ``class_agnostic``.
    """

    def __init__(self, spec: BoxHeadSpec, channels: int, num_categories: int, norm: NormFactory) -> None:
        super().__init__()
        self.spec = spec
        widths = [channels, *[spec.conv_channels] * spec.num_convs]
        self.convs = nn.Sequential(*(conv_norm(i, o, 3, norm, relu=True) for i, o in pairwise(widths)))
        units = [widths[-1] * spec.pool_size**2, *[spec.fc_channels] * spec.num_fcs]
        self.fcs = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(units))
        self.category = nn.Linear(units[-1], num_categories + 1)
        self.box = nn.Linear(units[-1], 4 if spec.class_agnostic else 4 * (num_categories + 1))

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """[N, C, P, P] to category logits [N, K + 1] (0 is background) and deltas, float32.

        Deltas are [N, K + 1, 4], or [N, 1, 4] when class-agnostic.
        """
        x = self.convs(pooled).flatten(1)
        for fc in self.fcs:
            x = F.relu(fc(x), inplace=True)
        return exact(self.category(x)), exact(self.box(x)).view(len(x), self.box.out_features // 4, 4)

    def losses(self, logits: Tensor, deltas: Tensor, rois: Rois, truth: GroundTruth) -> dict[str, Tensor]:
        """Cross entropy over all RoIs, and smooth L1 of the foreground divided by the number of all RoIs."""
        labels = rois.labels[rois.valid]
        count = max(len(labels), 1)
        chosen = labels > 0
        boxes = truth.boxes.gather(1, rois.instance[..., None].expand(-1, -1, 4))[rois.valid]
        target = encode(boxes, rois.boxes[rois.valid], self.spec.box_weights)
        row = torch.zeros_like(labels) if self.spec.class_agnostic else labels
        delta = deltas.gather(1, row[:, None, None].expand(-1, 1, 4))[:, 0]
        distance = F.smooth_l1_loss(delta, target, reduction="none", beta=self.spec.smooth_l1_beta).sum(-1)
        # Where, not a product: what is not chosen may have no finite target.
        return {
            "loss_box_class": F.cross_entropy(logits, labels, reduction="sum") / count,
            "loss_box_reg": torch.where(chosen, distance, 0.0).sum() / count,
        }

    def candidates(
        self, logits: Tensor, deltas: Tensor, proposals: Proposals, limits: Tensor, threshold: float
    ) -> "Candidates":
        """The boxes that score above ``threshold``."""
        return candidates(logits.softmax(-1), deltas, proposals, limits, threshold, self.spec)


@dataclass(slots=True)
class Candidates:
    """Boxes of all pictures that scored enough, before suppression."""

    boxes: Tensor
    """float32 [N, 4], clipped."""

    scores: Tensor
    """float32 [N]."""

    labels: Tensor
    """int64 [N], 1 to num_categories."""

    image: Tensor
    """int64 [N], the picture of the batch."""


def candidates(
    probabilities: Tensor, deltas: Tensor, proposals: Proposals, limits: Tensor, threshold: float, spec: BoxHeadSpec
) -> Candidates:
    """Score, decode and clip: each pair of proposal and category above ``threshold`` is a candidate.

    Args:
        probabilities: [N, K + 1] of the N valid proposals, 0 is background.
        deltas: [N, K + 1, 4], or [N, 1, 4] when class-agnostic.
        proposals: where the deltas start from.
        limits: [B, 4], width, height, width, height.
        threshold: on the score.
        spec: of the head that made the deltas.
    """
    pictures = len(limits)
    picture = torch.arange(pictures, device=deltas.device)[:, None].expand(proposals.valid.shape)[proposals.valid]
    scores = probabilities[:, 1:]
    roi, category = (scores > threshold).nonzero().unbind(1)
    score, image, label = scores[roi, category], picture[roi], category + 1
    row = torch.zeros_like(label) if spec.class_agnostic else label
    boxes = decode(deltas[roi, row], proposals.boxes[proposals.valid][roi], spec.box_weights)
    return Candidates(clip(boxes, limits[image]), score, label, image)


def best_detections(found: Candidates, pictures: int, categories: int, evaluation: EvalSpec) -> list[Detections]:
    """Suppress within each category, and keep the best of each picture."""
    boxes, score, label, image = found.boxes, found.scores, found.labels, found.image
    keep = long_enough(boxes, SHORTEST_SIDE)
    group = image * categories + label - 1
    keep[keep.clone()] = grouped_nms(boxes[keep], score[keep], group[keep], evaluation.nms_iou)
    order = score.masked_fill(~keep, -1.0).argsort(dim=0, descending=True, stable=True)[: int(keep.sum())]
    boxes, score, label, image = boxes[order], score[order], label[order], image[order]
    detections = []
    for number in range(pictures):
        own = torch.nonzero(image == number)[: evaluation.detections_per_image, 0]
        detections.append(Detections(boxes=boxes[own], scores=score[own], labels=label[own]))
    return detections
