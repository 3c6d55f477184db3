"""Our Mask R-CNN under torchvision's names and back, and which of our specs torchvision's builders can make.

torchvision composes two: ``maskrcnn_resnet50_fpn`` (batch norm in the backbone only, two fully connected layers in the
box head) is our norm ``frozen_bn``, ``maskrcnn_resnet50_fpn_v2`` (batch norm everywhere, 4conv1fc, two convolutions in
the RPN) our ``bn`` or ``sync_bn``.
"""

from typing import Any

from torch import Tensor

from raystudy.errors import SpecError, WeightsError
from raystudy.models.weights import TORCHVISION_PIXELS
from raystudy.spec.model import BoxHeadSpec, MaskHeadSpec, ModelSpec, RpnSpec
from raystudy.spec.trial import TrialSpec

MAX_LAYERS = 8
"""Layers of a head that are named."""


def torchvision_model(version: int = 2, norm: str = "") -> ModelSpec:
    """The model of torchvision's builder, v1 or v2, as a spec.

    Args:
        version: 1 is ``maskrcnn_resnet50_fpn``, 2 is ``maskrcnn_resnet50_fpn_v2``.
        norm: ``frozen_bn`` for 1; ``bn`` (default) or ``sync_bn`` for 2.
    """
    box = BoxHeadSpec(num_convs=0, num_fcs=2) if version == 1 else BoxHeadSpec()
    rpn = RpnSpec(anchor_style="torchvision", num_convs=version)
    chosen: Any = norm or ("frozen_bn" if version == 1 else "bn")
    return ModelSpec(norm=chosen, pixels=TORCHVISION_PIXELS, rpn=rpn, box_head=box, mask_head=MaskHeadSpec())


def builder_of(spec: TrialSpec) -> dict[str, Any]:
    """How torchvision builds the model: ``function`` of ``torchvision.models.detection``, and its ``arguments``.

    Raises:
        SpecError: torchvision has no such model, with everything that differs.
    """
    version = 1 if spec.model.norm == "frozen_bn" else 2
    if problems := _differences(spec.model, torchvision_model(version, spec.model.norm)):
        raise SpecError([f"torchvision builds no such model: {problem}" for problem in problems])
    rpn, evaluation = spec.model.rpn, spec.evaluation
    return {
        "function": "maskrcnn_resnet50_fpn" if version == 1 else "maskrcnn_resnet50_fpn_v2",
        "arguments": {
            "weights": None,
            "weights_backbone": None,
            "num_classes": spec.data.num_categories + 1,
            "min_size": spec.input.test_short_side,
            "max_size": spec.input.max_side,
            "rpn_pre_nms_top_n_test": rpn.pre_nms_test,
            "rpn_post_nms_top_n_test": rpn.post_nms_test,
            "rpn_nms_thresh": rpn.nms_iou,
            "box_score_thresh": evaluation.score_threshold,
            "box_nms_thresh": evaluation.nms_iou,
            "box_detections_per_img": evaluation.detections_per_image,
        },
    }


def _differences(own: ModelSpec, theirs: ModelSpec) -> list[str]:
    """What of the network differs from torchvision's; numbers of the losses and of sampling may be any."""
    parts = {
        "norm": (own.norm in ("bn", "sync_bn", "frozen_bn"), own.norm, "bn, sync_bn or frozen_bn"),
        "cascade": (own.cascade is None, "there", "none"),
        "keypoint_head": (own.keypoint_head is None, "there", "none"),
        "mask_head": (own.mask_head is not None, "none", "there"),
    }
    found = [f"{name} is {is_now}, but must be {must}" for name, (fits, is_now, must) in parts.items() if not fits]
    for name in ("backbone", "neck", "fpn_channels", "roi_canonical_scale", "pixels", "norm_eps"):
        found += _difference(name, getattr(own, name), getattr(theirs, name))
    for name in ("anchor_sizes", "anchor_ratios", "anchor_style", "num_convs"):
        found += _difference(f"rpn.{name}", getattr(own.rpn, name), getattr(theirs.rpn, name))
    box_fields = (
        "pool_size sampling_ratio num_convs conv_channels num_fcs fc_channels box_weights class_agnostic pooling"
    )
    for name in box_fields.split():
        if name != "conv_channels" or theirs.box_head.num_convs:
            found += _difference(f"box_head.{name}", getattr(own.box_head, name), getattr(theirs.box_head, name))
    if own.mask_head is not None and own.mask_head != theirs.mask_head:
        found += _difference("mask_head", own.mask_head, theirs.mask_head)
    return found


def _difference(name: str, own: Any, theirs: Any) -> list[str]:
    return [] if own == theirs else [f"{name} is {own}, but torchvision's is {theirs}"]


def to_torchvision(state: dict[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """A detector's state dict under the names of torchvision's; nothing else changes."""
    return _renamed(state, _prefixes(spec))


def from_torchvision(state: dict[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """The inverse of ``to_torchvision``."""
    found = _renamed(state, {theirs: ours for ours, theirs in _prefixes(spec).items()})
    if spec.norm == "frozen_bn":  # its statistics count nothing
        found = {name: value for name, value in found.items() if not name.endswith("num_batches_tracked")}
    return found


def _prefixes(spec: ModelSpec) -> dict[str, str]:
    prefixes = {
        "backbone.": "backbone.body.",
        "fpn.lateral.": "backbone.fpn.inner_blocks.",
        "fpn.output.": "backbone.fpn.layer_blocks.",
        "rpn.conv.": "rpn.head.conv.0.0.",
        **{f"rpn.more.{n}.": f"rpn.head.conv.{n + 1}.0." for n in range(MAX_LAYERS)},
        "rpn.objectness.": "rpn.head.cls_logits.",
        "rpn.box.": "rpn.head.bbox_pred.",
        "box_head.convs.": "roi_heads.box_head.",
        "box_head.category.": "roi_heads.box_predictor.cls_score.",
        "box_head.box.": "roi_heads.box_predictor.bbox_pred.",
        "mask_head.convs.": "roi_heads.mask_head.",
        "mask_head.deconv.": "roi_heads.mask_predictor.conv5_mask.",
        "mask_head.mask.": "roi_heads.mask_predictor.mask_fcn_logits.",
        "keypoint_head.deconv.": "roi_heads.keypoint_predictor.kps_score_lowres.",
    }
    num_convs = spec.box_head.num_convs
    for n in range(MAX_LAYERS):
        # After convolutions torchvision's box head has a Flatten, then a Linear and a ReLU for each layer.
        fc = f"{num_convs + 1 + 2 * n}" if num_convs else f"fc{6 + n}"
        prefixes[f"box_head.fcs.{n}."] = f"roi_heads.box_head.{fc}."
        # torchvision's keypoint convolutions have no norm, and a ReLU after each.
        prefixes[f"keypoint_head.convs.{n}.0."] = f"roi_heads.keypoint_head.{2 * n}."
    return prefixes


def _renamed(state: dict[str, Tensor], prefixes: dict[str, str]) -> dict[str, Tensor]:
    longest_first = sorted(prefixes, key=len, reverse=True)  # fc layers lie below the prefix of the convolutions
    renamed, foreign = {}, []
    for name, value in state.items():
        old = next((prefix for prefix in longest_first if name.startswith(prefix)), None)
        if old is None:
            foreign.append(name)
        else:
            renamed[prefixes[old] + name.removeprefix(old)] = value
    if foreign:
        raise WeightsError(
            f"{len(foreign)} tensors have no name in the other library, such as {', '.join(foreign[:3])}"
        )
    return renamed
