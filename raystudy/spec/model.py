"""The detector, as data. Defaults are the paper preset: Detectron's column of the recipe where it differs from others.

Sources: Detectron's ``04_2018_gn_baselines/scratch_e2e_mask_rcnn_R-50-FPN_3x_gn.yaml`` with its ``core/config.py``,
and He et al. 2019, section 4. Every choice in which torchvision or detectron2 differ is a field.
"""

from dataclasses import dataclass
from typing import Literal

Backbone = Literal[
    "tiny",
    "tiny_deep",
    "tiny_grouped",
    "tiny_vgg",
    "resnet50",
    "resnet101",
    "resnext152_8x32d",
    "resnext152_32x8d",
    "vgg16",
]
Norm = Literal["gn", "sync_bn", "bn", "frozen_bn", "none"]

NORMS: tuple[str, ...] = Norm.__args__  # type: ignore[attr-defined]
BACKBONES: tuple[str, ...] = Backbone.__args__  # type: ignore[attr-defined]

BACKBONE_PREFIX: dict[str, str] = {
    "tiny": "tiny",
    "tiny_deep": "tinydeep",
    "tiny_grouped": "tinygrp",
    "tiny_vgg": "tinyvgg",
    "resnet50": "r50",
    "resnet101": "r101",
    "resnext152_8x32d": "x152",
    "resnext152_32x8d": "x152n",
    "vgg16": "vgg16",
}
"""How a trial_id calls a backbone."""

VGG_BACKBONES = ("vgg16", "tiny_vgg")


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelSpec:
    """How uint8 pixels become the network's input: ``(pixel - mean) / std``, channels in ``order``."""

    order: Literal["bgr", "rgb"] = "bgr"
    mean: tuple[float, float, float] = (102.9801, 115.9465, 122.7717)
    """Of 0-255 pixels, in ``order``."""

    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Detectron subtracts the mean only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RpnSpec:
    """Region proposal network. No norm in it, as in Detectron."""

    anchor_sizes: tuple[int, ...] = (32, 64, 128, 256, 512)
    """Side of the square anchor of each pyramid level, pixels; one a level, finest level first.

    Without a pyramid every cell of the one map has anchors of all sizes, in each ratio.
    """

    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Height / width."""

    anchor_style: Literal["detectron", "torchvision"] = "detectron"
    """How anchors are rounded, and whether they sit on the centre (Detectron) or the corner (torchvision) of a cell."""

    foreground_iou: float = 0.7
    background_iou: float = 0.3
    anchors_per_image: int = 256
    """Anchors sampled for the loss."""

    foreground_fraction: float = 0.5
    straddle: float = 0.0
    """Anchors reaching further than this many pixels out of the image are not trained; -1 trains them all."""

    nms_iou: float = 0.7
    pre_nms_train: int = 2000
    """Proposals a level that enter NMS."""

    pre_nms_test: int = 1000
    post_nms_train: int = 2000
    post_nms_train_per: Literal["batch", "image"] = "batch"
    """Detectron keeps the best ``post_nms_train`` of a worker's whole batch; torchvision and detectron2, of an image.

    Detectron's batch is two images; other batch sizes scale the number with their images.
    """

    post_nms_test: int = 1000
    smooth_l1_beta: float = 1 / 9
    min_size: float = 0.0
    """Proposals with a shorter side (pixels) are dropped."""

    num_convs: int = 1
    """3x3 convolutions before the predictors; torchvision's v2 has 2."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxHeadSpec:
    """Box branch: RoIAlign, ``num_convs`` 3x3 convolutions with norm, ``num_fcs`` fully connected layers."""

    pool_size: int = 7
    sampling_ratio: int = 2
    num_convs: int = 4
    conv_channels: int = 256
    num_fcs: int = 1
    fc_channels: int = 1024
    rois_per_image: int = 512
    """RoIs sampled for the loss."""

    foreground_fraction: float = 0.25
    foreground_iou: float = 0.5
    background_iou_low: float = 0.0
    """RoIs below this IoU are not used as background."""

    box_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    smooth_l1_beta: float = 1.0
    class_agnostic: bool = False
    """Whether one box is regressed for all categories; the stages of a cascade always do."""

    pooling: Literal["align", "pool"] = "align"
    """RoIAlign, or RoIPool (the maximum of each cell, Girshick 2015)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CascadeSpec:
    """Box heads in a row (Cai and Vasconcelos 2018). Defaults are detectron2's; the paper prints none."""

    foreground_ious: tuple[float, ...] = (0.5, 0.6, 0.7)
    """Overlap from which a RoI is foreground, a stage; replaces the box head's."""

    box_weights: tuple[tuple[float, float, float, float], ...] = (
        (10.0, 10.0, 5.0, 5.0),
        (20.0, 20.0, 10.0, 10.0),
        (30.0, 30.0, 15.0, 15.0),
    )
    """A stage; replaces the box head's."""

    final_iterations: int = 0
    """Iterations before a trial's end at which it is switched on, the weights carried over; 0 has it from the start.

    The paper's scratch models train without it and switch to it for the final 270k iterations (section 5).
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskHeadSpec:
    """Mask branch: RoIAlign, 3x3 convolutions with norm, a 2x2 deconvolution: masks at ``2 * pool_size``."""

    pool_size: int = 14
    sampling_ratio: int = 2
    num_convs: int = 4
    conv_channels: int = 256

    @property
    def mask_size(self) -> int:
        """Side of the predicted mask, in mask pixels."""
        return 2 * self.pool_size


@dataclass(frozen=True, kw_only=True, slots=True)
class KeypointHeadSpec:
    """Keypoint branch: RoIAlign, 3x3 convolutions, deconvolution and enlargement: heat maps at ``4 * pool_size``.

    Defaults are those of Detectron's ``12_2017_baselines/e2e_keypoint_rcnn_R-50-FPN_1x.yaml``.
    """

    num_keypoints: int = 17
    pool_size: int = 14
    sampling_ratio: int = 2
    num_convs: int = 8
    conv_channels: int = 512
    has_norm: bool = False
    """Whether the model's norm follows its convolutions."""

    @property
    def map_size(self) -> int:
        """Side of the heat map, in its cells."""
        return 4 * self.pool_size


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """Mask R-CNN with FPN, each part chosen on its own: init never decides norm, freezing or pixel statistics."""

    backbone: Backbone = "resnet50"
    norm: Norm = "gn"
    """In backbone, FPN, box-head and mask-head convolutions; not in RPN, fully connected layers or deconvolution."""

    norm_groups: int = 32
    """Groups of ``gn``; a layer whose width it does not divide takes ``norm_group_channels`` channels a group."""

    norm_group_channels: int = 8
    norm_eps: float = 1e-5
    freeze_stages: int = 0
    """Backbone stages (stem first) that are not trained. Detectron's default of 2 would freeze random weights."""

    neck: Literal["fpn", "none"] = "fpn"
    """``none`` is the original Faster R-CNN: one map of stride 16, for VGG backbones only."""

    fpn_channels: int = 256
    roi_canonical_scale: float = 224.0
    """Side of a RoI, pixels, that is pooled from the level of stride 16 (Lin et al. 2017, equation 1)."""

    pixels: PixelSpec = PixelSpec()
    rpn: RpnSpec = RpnSpec()
    box_head: BoxHeadSpec = BoxHeadSpec()
    mask_head: MaskHeadSpec | None = MaskHeadSpec()
    """None trains Faster R-CNN."""

    keypoint_head: KeypointHeadSpec | None = None
    cascade: CascadeSpec | None = None

    def problems(self) -> list[str]:
        """What is wrong, in words; empty when the model can be built."""
        found = []
        if self.norm not in NORMS:
            found.append(f"norm is {self.norm!r}, but must be one of {', '.join(NORMS)}")
        if self.backbone not in BACKBONES:
            found.append(f"backbone is {self.backbone!r}, but must be one of {', '.join(BACKBONES)}")
        if self.norm_groups < 1 or self.norm_group_channels < 1:
            found.append("norm_groups and norm_group_channels must be at least 1")
        if (self.neck == "none") > (self.backbone in VGG_BACKBONES) or (
            self.neck == "fpn" and self.backbone == "vgg16"
        ):
            found.append(
                f"backbone {self.backbone} with neck {self.neck} does not exist; use neck none for vgg16, "
                "none or fpn for tiny_vgg, fpn for all others"
            )
        if not self.rpn.anchor_sizes or any(size <= 0 for size in self.rpn.anchor_sizes):
            found.append(f"anchor_sizes are {self.rpn.anchor_sizes}, but must be above 0, one a pyramid level")
        if self.rpn.num_convs < 1:
            found.append(f"rpn.num_convs is {self.rpn.num_convs}, but must be at least 1")
        if min(self.pixels.std) <= 0:
            found.append(f"pixel std is {self.pixels.std}, but must be above 0")
        if self.keypoint_head is not None and self.keypoint_head.num_keypoints < 1:
            found.append(f"num_keypoints is {self.keypoint_head.num_keypoints}, but must be at least 1")
        if self.cascade is not None:
            found += _cascade_problems(self.cascade)
        return found


def _cascade_problems(cascade: CascadeSpec) -> list[str]:
    ious, weights = cascade.foreground_ious, cascade.box_weights
    found = []
    if not ious or any(not 0 < iou <= 1 for iou in ious):
        found.append(f"cascade.foreground_ious are {ious}, but must be in (0, 1], one a stage")
    if len(ious) != len(weights):
        found.append(f"cascade has {len(ious)} foreground_ious and {len(weights)} box_weights; give one a stage")
    if any(weight <= 0 for row in weights for weight in row):
        found.append(f"cascade.box_weights are {weights}, but must be above 0")
    if cascade.final_iterations < 0:
        found.append(f"cascade.final_iterations is {cascade.final_iterations}, but must be at least 0")
    return found
