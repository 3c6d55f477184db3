"""torchvision's Mask R-CNN, composed of the same parts as a raystudy detector and given its weights.

The peer of ``benchmarks/training_iteration.py`` and of the parity tests. Everything beyond the norm layers is
torchvision's: backbone, pyramid, proposals, heads, losses, post-processing.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.ops import MultiScaleRoIAlign

from raystudy.data.batch import Batch
from raystudy.models.detector import Detector
from raystudy.models.normalization import NormFactory, norm_factory
from raystudy.models.torchvision_names import to_torchvision
from raystudy.spec.model import BoxHeadSpec

LEVELS = ["0", "1", "2", "3"]

LOSS_NAMES = {
    "loss_objectness": "loss_rpn_objectness",
    "loss_rpn_box_reg": "loss_rpn_box",
    "loss_classifier": "loss_box_class",
    "loss_box_reg": "loss_box_reg",
    "loss_mask": "loss_mask",
    "loss_keypoint": "loss_keypoint",
}
"""torchvision's names of our losses."""


def torchvision_twin(ours: Detector, min_size: int, max_size: int) -> MaskRCNN:
    """torchvision's detector of ``ours.spec``, with the weights of ``ours``; pictures are resized as it resizes.

    Settings that torchvision does not have (anchor style, straddle, the box loss' beta, the batch-wise budget) are
    torchvision's.
    """
    spec, evaluation = ours.spec, ours.evaluation
    assert spec.mask_head is not None
    norm, width, rpn, box, mask = norm_factory(spec), spec.fpn_channels, spec.rpn, spec.box_head, spec.mask_head
    body, widths = _body(spec.backbone, norm)
    layers = {f"layer{number}": str(number - 1) for number in range(1, 5)}
    backbone = BackboneWithFPN(body, layers, widths, width, norm_layer=norm)
    if len(rpn.anchor_sizes) == len(LEVELS):
        backbone.fpn.extra_blocks = None
    scale = int(spec.roi_canonical_scale)
    theirs = MaskRCNN(
        backbone,
        num_classes=None,
        min_size=min_size,
        max_size=max_size,
        image_mean=[value / 255 for value in spec.pixels.mean],
        image_std=[value / 255 for value in spec.pixels.std],
        rpn_anchor_generator=AnchorGenerator(
            tuple((size,) for size in rpn.anchor_sizes), (rpn.anchor_ratios,) * len(rpn.anchor_sizes)
        ),
        rpn_pre_nms_top_n_train=rpn.pre_nms_train,
        rpn_pre_nms_top_n_test=rpn.pre_nms_test,
        rpn_post_nms_top_n_train=rpn.post_nms_train,
        rpn_post_nms_top_n_test=rpn.post_nms_test,
        rpn_batch_size_per_image=rpn.anchors_per_image,
        rpn_positive_fraction=rpn.foreground_fraction,
        box_roi_pool=MultiScaleRoIAlign(LEVELS, box.pool_size, box.sampling_ratio, canonical_scale=scale),
        box_head=_box_head(box, width, norm),
        box_predictor=FastRCNNPredictor(box.fc_channels, ours.num_categories + 1),
        box_batch_size_per_image=box.rois_per_image,
        box_positive_fraction=box.foreground_fraction,
        box_score_thresh=evaluation.score_threshold,
        box_nms_thresh=evaluation.nms_iou,
        box_detections_per_img=evaluation.detections_per_image,
        mask_roi_pool=MultiScaleRoIAlign(LEVELS, mask.pool_size, mask.sampling_ratio, canonical_scale=scale),
        mask_head=MaskRCNNHeads(width, [mask.conv_channels] * mask.num_convs, 1, norm),
        mask_predictor=MaskRCNNPredictor(mask.conv_channels, mask.conv_channels, ours.num_categories + 1),
    )
    points = spec.keypoint_head
    if points is not None:
        heads = theirs.roi_heads
        heads.keypoint_roi_pool = MultiScaleRoIAlign(
            LEVELS, points.pool_size, points.sampling_ratio, canonical_scale=scale
        )
        heads.keypoint_head = KeypointRCNNHeads(width, [points.conv_channels] * points.num_convs)
        heads.keypoint_predictor = KeypointRCNNPredictor(points.conv_channels, points.num_keypoints)
    theirs.load_state_dict(to_torchvision(ours.state_dict(), spec), strict=True)
    return theirs


def torchvision_batch(batch: Batch, masks: Sequence[Tensor]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """The batch as torchvision wants it: RGB float pictures without padding, and dicts with full-size masks."""
    images = [image[:, :h, :w].float() / 255 for image, (h, w) in zip(batch.images, batch.sizes, strict=True)]
    targets = [
        {"boxes": target.boxes, "labels": target.labels, "masks": own.to(torch.uint8)}
        for target, own in zip(batch.targets, masks, strict=True)
    ]
    for own, target in zip(targets, batch.targets, strict=True):
        if target.keypoints is not None:
            own["keypoints"] = target.keypoints
    return images, targets


def keep_sizes(theirs: MaskRCNN) -> None:
    """Pictures are not resized, and detections keep their masks' resolution, so that they can be compared with ours."""
    theirs.transform.resize = lambda image, target: (image, target)
    theirs.transform.postprocess = lambda result, *_: result


def _box_head(spec: BoxHeadSpec, width: int, norm: NormFactory) -> nn.Module:
    head: nn.Module
    if spec.num_convs == 0 and spec.num_fcs == 2:
        head = TwoMLPHead(width * spec.pool_size**2, spec.fc_channels)
    else:
        convs, fcs = [spec.conv_channels] * spec.num_convs, [spec.fc_channels] * spec.num_fcs
        head = FastRCNNConvFCHead((width, spec.pool_size, spec.pool_size), convs, fcs, norm)
    return head


def _body(name: str, norm: NormFactory) -> tuple[nn.Module, list[int]]:
    if name == "resnet50":
        return ResNet(Bottleneck, [3, 4, 6, 3], norm_layer=norm), [256, 512, 1024, 2048]
    if name != "tiny":
        raise ValueError(f"torchvision's {name} is not composed here; use tiny or resnet50")
    body: Any = ResNet(BasicBlock, [1, 1, 1, 1], norm_layer=norm)
    widths = [24, 48, 96, 192]
    body.conv1, body.bn1 = nn.Conv2d(3, widths[0], 7, 2, 3, bias=False), norm(widths[0])
    body.inplanes = widths[0]
    for number, width in enumerate(widths, 1):
        setattr(body, f"layer{number}", body._make_layer(BasicBlock, width, 1, stride=1 if number == 1 else 2))
    return body, widths
