"""torchvision's Mask R-CNN composed of the same parts as ours, with our weights."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.resnet import Bottleneck, ResNet

from raystudy.data.batch import Batch
from raystudy.models.detector import Detector
from raystudy.spec.model import BoxHeadSpec, MaskHeadSpec, ModelSpec, Norm, PixelSpec, RpnSpec
from tests.models.synthetic import NUM_CATEGORIES, RasterMasks

EVERYTHING = 1_000_000
"""A sampling budget that takes all candidates, so that nothing is random."""


def parity_spec(norm: Norm) -> ModelSpec:
    """R50-FPN 4conv1fc with torchvision's choices wherever it differs from Detectron."""
    return ModelSpec(
        norm=norm,
        fpn_channels=32,
        pixels=PixelSpec(order="rgb", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
        rpn=RpnSpec(
            anchor_sizes=(8, 16, 32, 64, 128),
            anchor_style="torchvision",
            straddle=-1,
            anchors_per_image=EVERYTHING,
            foreground_fraction=1.0,
            pre_nms_train=200,
            pre_nms_test=200,
            post_nms_train=100,
            post_nms_train_per="image",
            post_nms_test=100,
        ),
        box_head=BoxHeadSpec(
            conv_channels=32,
            fc_channels=64,
            rois_per_image=EVERYTHING,
            foreground_fraction=1.0,
            smooth_l1_beta=1 / 9,
        ),
        mask_head=MaskHeadSpec(conv_channels=32, num_convs=2),
    )


def twin(ours: Detector) -> MaskRCNN:
    """torchvision's detector of ``ours.spec``."""
    spec = ours.spec
    assert spec.mask_head is not None
    norm: Any = partial(nn.GroupNorm, 32, eps=1e-5) if spec.norm == "gn" else nn.BatchNorm2d
    body = ResNet(Bottleneck, [3, 4, 6, 3], norm_layer=norm)
    layers = {f"layer{number}": str(number - 1) for number in range(1, 5)}
    width, box, rpn = spec.fpn_channels, spec.box_head, spec.rpn
    theirs = MaskRCNN(
        BackboneWithFPN(body, layers, [256, 512, 1024, 2048], width, norm_layer=norm),
        num_classes=None,
        min_size=1,
        image_mean=[value / 255 for value in spec.pixels.mean],
        image_std=[value / 255 for value in spec.pixels.std],
        rpn_anchor_generator=AnchorGenerator(tuple((s,) for s in rpn.anchor_sizes), ((0.5, 1.0, 2.0),) * 5),
        rpn_pre_nms_top_n_train=rpn.pre_nms_train,
        rpn_pre_nms_top_n_test=rpn.pre_nms_test,
        rpn_post_nms_top_n_train=rpn.post_nms_train,
        rpn_post_nms_top_n_test=rpn.post_nms_test,
        rpn_batch_size_per_image=EVERYTHING,
        rpn_positive_fraction=1.0,
        box_head=FastRCNNConvFCHead((width, 7, 7), [box.conv_channels] * box.num_convs, [box.fc_channels], norm),
        box_predictor=_box_predictor(box.fc_channels),
        box_batch_size_per_image=EVERYTHING,
        box_positive_fraction=1.0,
        box_score_thresh=ours.evaluation.score_threshold,
        box_nms_thresh=ours.evaluation.nms_iou,
        box_detections_per_img=ours.evaluation.detections_per_image,
        mask_head=MaskRCNNHeads(width, [spec.mask_head.conv_channels] * spec.mask_head.num_convs, 1, norm),
        mask_predictor=MaskRCNNPredictor(
            spec.mask_head.conv_channels, spec.mask_head.conv_channels, NUM_CATEGORIES + 1
        ),
    )
    theirs.transform = _NoResize(theirs.transform)
    theirs.load_state_dict(_renamed(ours.state_dict(), box.num_convs), strict=True)
    return theirs


def _box_predictor(channels: int) -> nn.Module:
    predictor: nn.Module = FastRCNNPredictor(channels, NUM_CATEGORIES + 1)
    return predictor


class _NoResize(nn.Module):
    """torchvision's own normalisation and padding; pictures keep their size, detections their masks' resolution."""

    def __init__(self, transform: Any) -> None:
        super().__init__()
        self.transform = transform
        transform.resize = lambda image, target: (image, target)

    def forward(self, images: Any, targets: Any) -> Any:
        return self.transform(images, targets)

    def postprocess(self, result: Any, *_: Any) -> Any:
        return result


def _renamed(state: dict[str, Tensor], num_convs: int) -> dict[str, Tensor]:
    prefixes = {
        "backbone.": "backbone.body.",
        "fpn.lateral.": "backbone.fpn.inner_blocks.",
        "fpn.output.": "backbone.fpn.layer_blocks.",
        "rpn.conv.": "rpn.head.conv.0.0.",
        "rpn.objectness.": "rpn.head.cls_logits.",
        "rpn.box.": "rpn.head.bbox_pred.",
        "box_head.convs.": "roi_heads.box_head.",
        "box_head.fcs.0.": f"roi_heads.box_head.{num_convs + 1}.",
        "box_head.category.": "roi_heads.box_predictor.cls_score.",
        "box_head.box.": "roi_heads.box_predictor.bbox_pred.",
        "mask_head.convs.": "roi_heads.mask_head.",
        "mask_head.deconv.": "roi_heads.mask_predictor.conv5_mask.",
        "mask_head.mask.": "roi_heads.mask_predictor.mask_fcn_logits.",
    }
    renamed = {}
    for name, value in state.items():
        ours = next(prefix for prefix in prefixes if name.startswith(prefix))
        renamed[prefixes[ours] + name.removeprefix(ours)] = value
    return renamed


def as_torchvision(batch: Batch) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """The batch as torchvision wants it: float pictures without padding, and dicts."""
    images = [image[:, :h, :w].float() / 255 for image, (h, w) in zip(batch.images, batch.sizes, strict=True)]
    targets = []
    for target in batch.targets:
        assert isinstance(target.masks, RasterMasks)
        targets.append({"boxes": target.boxes, "labels": target.labels, "masks": target.masks.masks.to(torch.uint8)})
    return images, targets
