"""The detector: backbone, pyramid, proposals, box branch and, when asked for, mask branch, each chosen on its own."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from raystudy.data.batch import Batch, Detections
from raystudy.errors import SpecError
from raystudy.models.backbones import STRIDES, Backbone, build_backbone
from raystudy.models.box_head import BoxHead, draw_rois
from raystudy.models.fpn import FeaturePyramid
from raystudy.models.mask_head import MaskHead, mask_rois, mask_targets
from raystudy.models.normalization import head_norm_factory
from raystudy.models.pixels import PixelNormalizer
from raystudy.models.roi_pool import RoiPooler
from raystudy.models.rpn import RegionProposalNetwork
from raystudy.models.targets import pad_targets
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.model import BoxHeadSpec, MaskHeadSpec, ModelSpec


def build_detector(spec: ModelSpec, num_categories: int, evaluation: EvalSpec) -> "Detector":
    """The detector of ``spec`` with torch's own initial weights; ``initialization.initialize`` gives it the recipe's.

    Raises:
        SpecError: a spec that cannot be built.
    """
    problems = spec.problems()
    if len(spec.rpn.anchor_sizes) not in (len(STRIDES), len(STRIDES) + 1):
        problems.append(
            f"anchor_sizes has {len(spec.rpn.anchor_sizes)} levels, but the pyramid has {len(STRIDES)}, or "
            f"{len(STRIDES) + 1} with the extra level for proposals; give one size a level"
        )
    if problems:
        raise SpecError(problems)
    return Detector(spec, num_categories, evaluation)


class Detector(nn.Module):
    """Mask R-CNN on a feature pyramid, or Faster R-CNN when there is no mask head.

    Calling it gives losses, in training and in evaluation mode; ``detect`` gives detections. Losses are always made
    with the proposal budgets of training, so that training and validation loss can be compared.
    """

    backbone: Backbone

    def __init__(self, spec: ModelSpec, num_categories: int, evaluation: EvalSpec) -> None:
        super().__init__()
        self.spec, self.num_categories, self.evaluation = spec, num_categories, evaluation
        norm, channels = head_norm_factory(spec), spec.fpn_channels
        has_extra_level = len(spec.rpn.anchor_sizes) > len(STRIDES)
        self.pixels = PixelNormalizer(spec.pixels)
        self.backbone = build_backbone(spec)
        self.fpn = FeaturePyramid(self.backbone.out_channels, channels, norm, has_extra_level)
        strides = (*STRIDES, 2 * STRIDES[-1]) if has_extra_level else STRIDES
        self.rpn = RegionProposalNetwork(spec.rpn, channels, strides)
        self.box_head = BoxHead(spec.box_head, channels, num_categories, norm)
        self.box_pool = self._pooler(spec.box_head)
        self.mask_head: MaskHead | None = None
        if spec.mask_head is not None:
            self.mask_head = MaskHead(spec.mask_head, channels, num_categories, norm)
            self.mask_pool = self._pooler(spec.mask_head)
        self.to(memory_format=torch.channels_last)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch by their names in ``records.Losses``, each a float32 scalar.

        Every trained parameter takes part in them whatever the batch holds, so that all workers run the same graph.
        """
        features = self.features(batch)
        limits = self._limits(batch.sizes, features[0].device)
        truth = pad_targets(batch.targets, features[0].device)
        anchors = self.rpn.anchors(features)
        objectness, deltas = self.rpn(features)
        losses: dict[str, Tensor] = self.rpn.losses(objectness, deltas, anchors, truth, limits)
        proposals = self.rpn.propose(objectness, deltas, anchors, limits, for_loss=True)
        rois = draw_rois(self.spec.box_head, proposals, truth)
        logits, box_deltas = self.box_head(self.box_pool(features, rois.boxes, rois.valid))
        losses |= self.box_head.losses(logits, box_deltas, rois, truth)
        if self.mask_head is not None:
            boxes, valid = mask_rois(rois)
            masks = self.mask_head(self.mask_pool(features, boxes, valid))
            targets = mask_targets(batch.targets, rois, self.mask_head.spec.mask_size)
            losses |= self.mask_head.loss(masks, rois.labels[rois.is_foreground], targets)
        return losses

    def detect(self, batch: Batch) -> list[Detections]:
        """What is in each picture, best first; its targets are not looked at. The caller turns gradients off."""
        features = self.features(batch)
        limits = self._limits(batch.sizes, features[0].device)
        objectness, deltas = self.rpn(features)
        proposals = self.rpn.propose(objectness, deltas, self.rpn.anchors(features), limits, for_loss=False)
        logits, box_deltas = self.box_head(self.box_pool(features, proposals.boxes, proposals.valid))
        found = self.box_head.detections(logits, box_deltas, proposals, limits, self.evaluation)
        if self.mask_head is not None:
            self._add_masks(features, found)
        return found

    def features(self, batch: Batch) -> list[Tensor]:
        """The pyramid's levels, finest first."""
        images = self.pixels(batch.images, batch.sizes)
        levels: list[Tensor] = self.fpn(self.backbone(images))
        return levels

    def _add_masks(self, features: Sequence[Tensor], found: list[Detections]) -> None:
        assert self.mask_head is not None
        counts = [len(one.boxes) for one in found]
        boxes = nn.utils.rnn.pad_sequence([one.boxes for one in found], batch_first=True)
        numbers = torch.arange(boxes.shape[1], device=boxes.device)
        valid = numbers < torch.tensor(counts, device=boxes.device)[:, None]
        logits = self.mask_head(self.mask_pool(features, boxes, valid))
        masks = self.mask_head.probabilities(logits, torch.cat([one.labels for one in found]))
        for one, own in zip(found, torch.split(masks, counts), strict=True):
            one.masks = own

    def _pooler(self, head: BoxHeadSpec | MaskHeadSpec) -> RoiPooler:
        return RoiPooler(STRIDES, head.pool_size, head.sampling_ratio, self.spec.roi_canonical_scale)

    def _limits(self, sizes: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
        """Width, height, width, height of each picture, float32 [B, 4]."""
        sides = [(width, height, width, height) for height, width in sizes]
        return torch.tensor(sides, dtype=torch.float32).to(device, non_blocking=True)
