"""The detector: backbone, pyramid, proposals, box branch and, when asked for, mask branch, each chosen on its own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from raystudy.data.batch import Batch, Detections
from raystudy.errors import SpecError
from raystudy.models.backbones import STRIDES, Backbone, build_backbone
from raystudy.models.box_head import BoxHead, Candidates, Rois, best_detections, draw_rois
from raystudy.models.boxes import padded_boxes
from raystudy.models.cascade import CascadeHead
from raystudy.models.fpn import FeaturePyramid
from raystudy.models.keypoint_head import KeypointHead, keypoint_targets, place_keypoints
from raystudy.models.mask_head import MaskHead, mask_rois, mask_targets
from raystudy.models.normalization import head_norm_factory
from raystudy.models.pixels import PixelNormalizer
from raystudy.models.roi_pool import RoiPooler
from raystudy.models.rpn import Proposals, RegionProposalNetwork
from raystudy.models.targets import GroundTruth, pad_targets
from raystudy.models.test_time_augmentation import detect_augmented
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.model import BoxHeadSpec, KeypointHeadSpec, MaskHeadSpec, ModelSpec


def build_detector(spec: ModelSpec, num_categories: int, evaluation: EvalSpec) -> "Detector":
    """The detector of ``spec`` with torch's own initial weights; ``initialization.initialize`` gives it the recipe's.

    Raises:
        SpecError: a spec that cannot be built.
    """
    problems = spec.problems()
    if spec.neck == "fpn" and len(spec.rpn.anchor_sizes) not in (len(STRIDES), len(STRIDES) + 1):
        problems.append(
            f"anchor_sizes has {len(spec.rpn.anchor_sizes)} levels, but the pyramid has {len(STRIDES)}, or "
            f"{len(STRIDES) + 1} with the extra level for proposals; give one size a level"
        )
    if problems:
        raise SpecError(problems)
    return Detector(spec, num_categories, evaluation)


class Detector(nn.Module):
    """Mask R-CNN on a feature pyramid, or Faster R-CNN when there is no mask head; the original one without pyramid.

    The box head may be a cascade, and a keypoint head may be there as well as, or in place of, the mask head.

    Calling it gives losses, in training and in evaluation mode; ``detect`` gives detections. Losses are always made
    with the proposal budgets of training, so that training and validation loss can be compared.
    """

    backbone: Backbone

    def __init__(self, spec: ModelSpec, num_categories: int, evaluation: EvalSpec) -> None:
        super().__init__()
        self._seen: tuple[Batch | None, list[Tensor]] | None = None
        self.spec, self.num_categories, self.evaluation = spec, num_categories, evaluation
        self.keypoint_mirror: tuple[int, ...] = ()  # the data's; evaluation with flip needs it
        norm = head_norm_factory(spec)
        self.pixels = PixelNormalizer(spec.pixels)
        self.backbone = build_backbone(spec)
        self.strides = strides = self.backbone.strides
        self.fpn: FeaturePyramid | None = None
        channels = self.backbone.out_channels[-1]
        if spec.neck == "fpn":
            has_extra_level = len(spec.rpn.anchor_sizes) > len(strides)
            channels = spec.fpn_channels
            self.fpn = FeaturePyramid(self.backbone.out_channels, channels, norm, has_extra_level)
            strides = (*strides, 2 * strides[-1]) if has_extra_level else strides
        self.rpn = RegionProposalNetwork(spec.rpn, channels, strides)
        self.box_head: BoxHead | CascadeHead
        if spec.cascade is None:
            self.box_head = BoxHead(spec.box_head, channels, num_categories, norm)
        else:
            self.box_head = CascadeHead(spec.box_head, spec.cascade, channels, num_categories, norm)
        self.box_pool = self._pooler(spec.box_head)
        self.mask_head: MaskHead | None = None
        if spec.mask_head is not None:
            self.mask_head = MaskHead(spec.mask_head, channels, num_categories, norm)
            self.mask_pool = self._pooler(spec.mask_head)
        self.keypoint_head: KeypointHead | None = None
        if spec.keypoint_head is not None:
            self.keypoint_head = KeypointHead(spec.keypoint_head, channels, norm)
            self.keypoint_pool = self._pooler(spec.keypoint_head)
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
        box_losses, rois = self._box_losses(features, proposals, truth, limits)
        losses |= box_losses
        boxes, valid = mask_rois(rois)
        if self.mask_head is not None:
            masks = self.mask_head(self.mask_pool(features, boxes, valid))
            targets = mask_targets(batch.targets, rois, self.mask_head.spec.mask_size)
            losses |= self.mask_head.loss(masks, rois.labels[rois.is_foreground], targets)
        if self.keypoint_head is not None:
            maps = self.keypoint_head(self.keypoint_pool(features, boxes, valid))
            losses |= self.keypoint_head.loss(maps, *keypoint_targets(batch.targets, rois, self.keypoint_head.spec))
        return losses

    def detect(self, batch: Batch) -> list[Detections]:
        """What is in each picture, best first; its targets are not looked at. The caller turns gradients off.

        With scales or flip in ``evaluation`` it is looked at in several ways.
        """
        if self.evaluation.is_augmented:
            return detect_augmented(self, batch)
        features = self.features(batch)
        candidates = self.candidates(features, batch.sizes)
        found = best_detections(candidates, len(batch.sizes), self.num_categories, self.evaluation)
        boxes, valid = padded_boxes([one.boxes for one in found])
        counts = [len(one.boxes) for one in found]
        if self.mask_head is not None:
            masks = self.mask_probabilities(features, boxes, valid, torch.cat([one.labels for one in found]))
            for one, own in zip(found, torch.split(masks, counts), strict=True):
                one.masks = own
        if self.keypoint_head is not None:
            maps = self.keypoint_maps(features, boxes, valid)
            for one, own in zip(found, torch.split(place_keypoints(maps, boxes[valid]), counts), strict=True):
                one.keypoints = own
        return found

    def candidates(self, features: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> Candidates:
        """The boxes of all pictures that score above the threshold, before suppression."""
        limits = self._limits(sizes, features[0].device)
        objectness, deltas = self.rpn(features)
        proposals = self.rpn.propose(objectness, deltas, self.rpn.anchors(features), limits, for_loss=False)
        threshold = self.evaluation.score_threshold
        if isinstance(self.box_head, CascadeHead):
            return self.box_head.candidates(partial(self.box_pool, features), proposals, limits, threshold)
        logits, box_deltas = self.box_head(self.box_pool(features, proposals.boxes, proposals.valid))
        return self.box_head.candidates(logits, box_deltas, proposals, limits, threshold)

    def mask_probabilities(self, features: Sequence[Tensor], boxes: Tensor, valid: Tensor, labels: Tensor) -> Tensor:
        """Masks of the valid ones of ``boxes`` [B, R, 4] in the category of ``labels`` [N]: [N, M, M] in 0 to 1."""
        assert self.mask_head is not None
        return self.mask_head.probabilities(self.mask_head(self.mask_pool(features, boxes, valid)), labels)

    def keypoint_maps(self, features: Sequence[Tensor], boxes: Tensor, valid: Tensor) -> Tensor:
        """Heat-map logits [N, K, S, S] of the valid ones of ``boxes`` [B, R, 4]."""
        assert self.keypoint_head is not None
        maps: Tensor = self.keypoint_head(self.keypoint_pool(features, boxes, valid))
        return maps

    @property
    def has_masks(self) -> bool:
        """Whether detections have masks."""
        return self.mask_head is not None

    @property
    def has_keypoints(self) -> bool:
        """Whether detections have keypoints."""
        return self.keypoint_head is not None

    def features(self, batch: Batch) -> list[Tensor]:
        """The pyramid's levels, finest first; without a pyramid the backbone's one map."""
        if self._seen is not None and self._seen[0] is batch:
            return self._seen[1]
        images = self.pixels(batch.images, batch.sizes)
        levels: list[Tensor] = self.backbone(images)
        if self.fpn is not None:
            levels = self.fpn(levels)
        if self._seen is not None:
            self._seen = (batch, levels)
        return levels

    @contextmanager
    def sharing_features(self) -> Iterator[None]:
        """Within it, a batch that is used for losses and for detections goes through backbone and pyramid once.

        For validation: the weights must not change in between.
        """
        self._seen = (None, [])
        try:
            yield
        finally:
            self._seen = None

    def _box_losses(
        self, features: Sequence[Tensor], proposals: Proposals, truth: GroundTruth, limits: Tensor
    ) -> tuple[dict[str, Tensor], Rois]:
        """The losses, and the RoIs that the other branches train on."""
        if isinstance(self.box_head, CascadeHead):
            rois = draw_rois(self.box_head.first_spec, proposals, truth)
            return self.box_head.losses(partial(self.box_pool, features), rois, truth, limits)
        rois = draw_rois(self.spec.box_head, proposals, truth)
        logits, deltas = self.box_head(self.box_pool(features, rois.boxes, rois.valid))
        return self.box_head.losses(logits, deltas, rois, truth), rois

    def _pooler(self, head: BoxHeadSpec | MaskHeadSpec | KeypointHeadSpec) -> RoiPooler:
        maximum = isinstance(head, BoxHeadSpec) and head.pooling == "pool"
        return RoiPooler(self.strides, head.pool_size, head.sampling_ratio, self.spec.roi_canonical_scale, maximum)

    def _limits(self, sizes: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
        """Width, height, width, height of each picture, float32 [B, 4]."""
        sides = [(width, height, width, height) for height, width in sizes]
        return torch.tensor(sides, dtype=torch.float32).to(device, non_blocking=True)
