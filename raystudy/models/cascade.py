"""Cascade R-CNN (Cai and Vasconcelos 2018): box heads in a row, each trained at a higher IoU on the boxes of the last.

As detectron2's ``CascadeROIHeads``, to which the paper's cascade corresponds: boxes are regressed without regard to
category, RoIs are drawn once, the losses of all stages count 1, the gradient that a head sends into its pooled features
is divided by the number of stages, and scores are the mean of all stages. Elsewhere we follow the paper's words: the
mask head is on the last stage, so that it trains on the boxes and the foreground of that stage.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from raystudy.models.box_head import BoxHead, Candidates, Rois, candidates
from raystudy.models.boxes import clip, decode, long_enough
from raystudy.models.normalization import NormFactory
from raystudy.models.rpn import Proposals
from raystudy.models.targets import GroundTruth, match
from raystudy.spec.model import BoxHeadSpec, CascadeSpec

SHORTEST_SIDE = 1e-2
"""Pixels: RoIs that a stage shrank to less take no part in the next."""

Pool = Callable[[Tensor, Tensor], Tensor]
"""From boxes [B, R, 4] and valid [B, R] to the pooled features of the valid ones."""


class CascadeHead(nn.Module):
    """``stages``: one box head for each IoU threshold."""

    def __init__(
        self, spec: BoxHeadSpec, cascade: CascadeSpec, channels: int, num_categories: int, norm: NormFactory
    ) -> None:
        super().__init__()
        specs = stage_specs(spec, cascade)
        self.first_spec = specs[0]
        """What the RoIs are drawn for."""
        self.stages = nn.ModuleList(BoxHead(stage, channels, num_categories, norm) for stage in specs)

    def heads(self) -> list[BoxHead]:
        """The stages, typed."""
        return [stage for stage in self.stages if isinstance(stage, BoxHead)]

    def losses(self, pool: Pool, rois: Rois, truth: GroundTruth, limits: Tensor) -> tuple[dict[str, Tensor], Rois]:
        """The sum of the stages' losses, and the RoIs of the last stage, foreground first.

        ``rois`` are drawn and labelled for the first stage.
        """
        total: dict[str, Tensor] = {}
        for number, stage in enumerate(self.heads()):
            if number:
                rois = relabelled(rois, stage.spec.foreground_iou, truth)
            logits, deltas = self._predict(stage, pool, rois.boxes, rois.valid)
            for name, loss in stage.losses(logits, deltas, rois, truth).items():
                total[name] = total[name] + loss if name in total else loss
            if number + 1 < len(self.stages):
                boxes = _refined(stage, deltas, rois.boxes, rois.valid, limits)
                rois = replace(rois, boxes=boxes, valid=rois.valid & long_enough(boxes, SHORTEST_SIDE))
        return total, rois

    def candidates(self, pool: Pool, proposals: Proposals, limits: Tensor, threshold: float) -> Candidates:
        """The last stage's boxes with the mean scores of all stages."""
        total = torch.zeros((), device=limits.device)
        start = boxes = proposals.boxes
        for stage in self.heads():
            start = boxes
            logits, deltas = self._predict(stage, pool, start, proposals.valid)
            total = total + logits.softmax(-1)
            boxes = _refined(stage, deltas, start, proposals.valid, limits)
        mean, last = total / len(self.stages), Proposals(start, proposals.valid)
        return candidates(mean, deltas, last, limits, threshold, stage.spec)

    def _predict(self, stage: BoxHead, pool: Pool, boxes: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        pooled = pool(boxes, valid)
        if pooled.requires_grad:
            pooled = _ScaledGradient.apply(pooled, 1 / len(self.stages))
        logits, deltas = stage(pooled)
        return logits, deltas


def stage_specs(spec: BoxHeadSpec, cascade: CascadeSpec) -> list[BoxHeadSpec]:
    """The box head of each stage."""
    pairs = zip(cascade.foreground_ious, cascade.box_weights, strict=True)
    return [replace(spec, foreground_iou=iou, box_weights=weights, class_agnostic=True) for iou, weights in pairs]


@torch.no_grad()
def relabelled(rois: Rois, foreground_iou: float, truth: GroundTruth) -> Rois:
    """The same boxes matched anew: a later stage asks for more overlap. Foreground comes first."""
    found = match(truth, rois.boxes)
    foreground = (found.iou >= foreground_iou) & rois.valid
    order = foreground.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    foreground, instance = foreground.gather(1, order), found.instance.gather(1, order)
    return Rois(
        boxes=rois.boxes.gather(1, order[..., None].expand(-1, -1, 4)),
        valid=rois.valid.gather(1, order),
        is_foreground=foreground,
        instance=instance,
        labels=truth.labels.gather(1, instance) * foreground,
    )


@torch.no_grad()
def _refined(stage: BoxHead, deltas: Tensor, boxes: Tensor, valid: Tensor, limits: Tensor) -> Tensor:
    """``boxes`` [B, R, 4] as the stage corrects them, inside their pictures; ``deltas`` [N, 1, 4] of the valid ones."""
    moved = boxes.clone()
    moved[valid] = decode(deltas.detach()[:, 0], boxes[valid], stage.spec.box_weights)
    return clip(moved, limits[:, None])


class _ScaledGradient(torch.autograd.Function):
    """The identity forward; backward, the gradient times ``factor``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


def carry_over(state: dict[str, Tensor], spec: BoxHeadSpec, cascade: CascadeSpec) -> dict[str, Tensor]:
    """The weights of a detector without cascade as those of one with it: the paper's switch during training.

    The paper says that the weights go on, not what the new stages start from. Here every stage starts from the plain
    box head: its convolutions, fully connected layers and category predictor as they are, and as box predictor the mean
    of the plain one's predictors of the foreground categories, scaled so that the box which it predicts is the same
    whatever the stage's box weights are. All else stays.

    Args:
        state: ``state_dict`` of the plain detector.
        spec: its box head.
        cascade: what is switched on.

    Raises:
        ValueError: ``state`` has no plain box head.
    """
    plain = {key: value for key, value in state.items() if key.startswith("box_head.")}
    if "box_head.box.weight" not in plain:
        raise ValueError("the weights have no box_head.box.weight: they are not those of a detector without cascade")
    carried = {key: value for key, value in state.items() if key not in plain}
    for number, weights in enumerate(cascade.box_weights):
        for key, value in plain.items():
            own = key.removeprefix("box_head.")
            tensor = _agnostic(value, spec, weights) if own.startswith("box.") else value.clone()
            carried[f"box_head.stages.{number}.{own}"] = tensor
    return carried


def _agnostic(predictor: Tensor, spec: BoxHeadSpec, weights: tuple[float, ...]) -> Tensor:
    """Rows (weight [4 (K + 1), F] or bias [4 (K + 1)]) of one box predictor for all categories: [4, F] or [4]."""
    by_category = predictor.view(-1, 4, *predictor.shape[1:])
    mean = by_category[0] if spec.class_agnostic else by_category[1:].mean(0)
    ratio = predictor.new_tensor([new / old for new, old in zip(weights, spec.box_weights, strict=True)])
    return mean * ratio.view(4, *[1] * (predictor.ndim - 1))
