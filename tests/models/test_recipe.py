"""Preset paper is Detectron's column of the recipe, line by line (04_2018_gn_baselines/scratch_e2e_mask_rcnn_R-50-FPN).

Numbers are written out here, not taken from the code that is tested.
"""

from collections.abc import Iterator
from functools import cache

import pytest
import torch
from torch import nn

from raystudy.models.backbones import build_backbone
from raystudy.models.detector import Detector, build_detector
from raystudy.models.initialization import RECIPE, initialize_backbone
from raystudy.spec.model import ModelSpec
from raystudy.spec.presets import load_preset
from raystudy.spec.schedule import ScheduleSpec
from raystudy.spec.trial import TrialSpec
from raystudy.training.optimizer import build_optimizer

PAPER: TrialSpec = load_preset("paper").base


@cache
def _detector() -> Detector:
    with torch.device("meta"):
        return build_detector(PAPER.model, 80, PAPER.evaluation)


def _convs(part: str) -> Iterator[tuple[str, nn.Conv2d]]:
    for name, module in _detector().named_modules():
        if name.startswith(part) and isinstance(module, nn.Conv2d):
            yield name, module


def test_norm_is_gn_of_32_groups_and_eps_1e5_with_weight_and_bias() -> None:
    norms = [module for module in _detector().modules() if isinstance(module, nn.GroupNorm)]
    assert {(norm.num_groups, norm.eps, norm.affine) for norm in norms} == {(32, 1e-5, True)}
    # 53 in R50 (stem, 16 x 3, 4 shortcuts), 4 + 4 in FPN, 4 in the box head, 4 in the mask head.
    assert len(norms) == 53 + 8 + 4 + 4


@pytest.mark.parametrize("part", ["rpn", "box_head.fcs", "box_head.category", "box_head.box", "mask_head.mask"])
def test_no_norm_in(part: str) -> None:
    found = [(name, module) for name, module in _detector().named_modules() if name.startswith(part)]
    assert found
    assert not [name for name, module in found if isinstance(module, nn.GroupNorm)]


def test_a_convolution_has_a_bias_exactly_when_no_norm_follows() -> None:
    for part in ("backbone", "fpn", "box_head.convs", "mask_head.convs"):
        assert all(conv.bias is None for _, conv in _convs(part))
    assert all(conv.bias is not None for part in ("rpn", "mask_head.mask") for _, conv in _convs(part))


def test_the_stride_of_a_block_is_in_its_3x3() -> None:
    strided = {name: conv for name, conv in _convs("backbone.layer") if conv.stride != (1, 1)}
    assert {name.split(".", 2)[2].split(".", 1)[1] for name in strided} == {"conv2", "downsample.0"}
    assert len(strided) == 3 * 2


def test_nothing_is_frozen() -> None:
    assert PAPER.model.freeze_stages == 0
    assert all(parameter.requires_grad for parameter in _detector().parameters())


def test_inits_are_the_recipes() -> None:
    kinds = {prefix: fill.__qualname__.split(".")[0] for prefix, fill in RECIPE}
    assert {kinds[prefix] for prefix in ("backbone.", "box_head.convs.", "mask_head.")} == {"msra"}
    assert {kinds[prefix] for prefix in ("fpn.", "box_head.fcs.")} == {"xavier"}
    assert {kinds[prefix] for prefix in ("rpn.", "box_head.category.", "box_head.box.")} == {"gaussian"}


def test_pixels_are_bgr_less_a_mean_and_not_divided() -> None:
    pixels = PAPER.model.pixels
    assert (pixels.order, pixels.mean, pixels.std) == ("bgr", (102.9801, 115.9465, 122.7717), (1.0, 1.0, 1.0))


def test_the_solver_is_detectrons() -> None:
    optimizer = PAPER.optimizer
    assert (optimizer.base_lr, optimizer.momentum, optimizer.weight_decay) == (0.02, 0.9, 1e-4)
    assert (optimizer.norm_weight_decay, optimizer.bias_weight_decay, optimizer.bias_lr_factor) == (0, 0, 2)
    assert (PAPER.workers, PAPER.images_per_worker, PAPER.global_batch) == (8, 2, 16)


def test_weight_decay_spares_norms_and_biases_and_biases_learn_twice_as_fast() -> None:
    groups = {group["role"]: group for group in build_optimizer(_detector(), PAPER.optimizer).param_groups}
    found = {role: (group["weight_decay"], group["lr_factor"]) for role, group in groups.items()}
    assert found == {"weight": (1e-4, 1.0), "norm": (0.0, 1.0), "bias": (0.0, 2.0)}
    assert len(groups["norm"]["params"]) == 69
    # A norm's bias counts as a bias: 69, and those of RPN (3), fully connected layers (3), deconvolution and mask.
    assert len(groups["bias"]["params"]) == 69 + 3 + 3 + 2


def test_rates_warm_up_over_500_iterations_from_a_third_and_fall_60k_and_20k_before_the_end() -> None:
    three = ScheduleSpec.from_units(3, 90_000)
    trial = TrialSpec(schedule=three)
    assert three.total == 270_000
    assert trial.lr_at(0) == pytest.approx(0.02 / 3)
    assert trial.lr_at(250) == pytest.approx(0.02 * (1 / 3 + (2 / 3) / 2))
    rates = [round(trial.lr_at(i), 8) for i in (500, 209_999, 210_000, 249_999, 250_000, 269_999)]
    assert rates == [0.02, 0.02, 0.002, 0.002, 0.0002, 0.0002]
    six = TrialSpec(schedule=ScheduleSpec.from_units(6, 90_000))
    rates = [round(six.lr_at(i), 8) for i in (479_999, 480_000, 520_000)]
    assert rates == [0.02, 0.002, 0.0002]


def test_pictures_are_800_by_1333_and_mirrored_half_the_time() -> None:
    assert PAPER.input.train_short_sides == (800,)
    assert (PAPER.input.test_short_side, PAPER.input.max_side) == (800, 1333)
    assert PAPER.input.flip
    assert PAPER.input.resize
    assert PAPER.input.crop == 0
    assert PAPER.input.aspect_grouping


def test_proposals_are_detectrons() -> None:
    rpn = PAPER.model.rpn
    assert rpn.anchor_sizes == (32, 64, 128, 256, 512)
    assert rpn.anchor_ratios == (0.5, 1.0, 2.0)
    assert _detector().rpn.strides == (4, 8, 16, 32, 64)
    assert (rpn.anchors_per_image, rpn.foreground_fraction) == (256, 0.5)
    assert (rpn.foreground_iou, rpn.background_iou, rpn.nms_iou) == (0.7, 0.3, 0.7)
    assert (rpn.pre_nms_train, rpn.pre_nms_test) == (2000, 1000)
    assert (rpn.post_nms_train, rpn.post_nms_train_per, rpn.post_nms_test) == (2000, "batch", 1000)
    assert (rpn.straddle, rpn.smooth_l1_beta) == (0.0, 1 / 9)


def test_the_box_head_is_4conv1fc_on_512_rois() -> None:
    head = PAPER.model.box_head
    assert (head.rois_per_image, head.foreground_fraction) == (512, 0.25)
    assert (head.foreground_iou, head.background_iou_low) == (0.5, 0.0)
    assert list(head.box_weights) == [10, 10, 5, 5]
    assert (head.pool_size, head.sampling_ratio, head.pooling, head.smooth_l1_beta) == (7, 2, "align", 1.0)
    assert [tuple(conv.weight.shape) for _, conv in _convs("box_head.convs")] == [(256, 256, 3, 3)] * 4
    linear = {n: tuple(m.weight.shape) for n, m in _detector().named_modules() if isinstance(m, nn.Linear)}
    assert linear == {
        "box_head.fcs.0": (1024, 256 * 49),
        "box_head.category": (81, 1024),
        "box_head.box": (4 * 81, 1024),
    }


def test_the_mask_head_is_4_convolutions_and_a_deconvolution_to_28() -> None:
    head = PAPER.model.mask_head
    assert head is not None
    assert (head.pool_size, head.sampling_ratio, head.mask_size) == (14, 2, 28)
    assert [tuple(conv.weight.shape) for _, conv in _convs("mask_head.convs")] == [(256, 256, 3, 3)] * 4
    network = _detector().mask_head
    assert network is not None
    assert tuple(network.deconv.weight.shape) == (256, 256, 2, 2)
    assert tuple(network.mask.weight.shape) == (81, 256, 1, 1)


def test_norms_start_as_the_identity_at_the_end_of_a_block_too() -> None:
    network = build_backbone(ModelSpec(backbone="tiny_grouped"))  # bottlenecks, as R50 has
    initialize_backbone(network, 0)
    assert {float(m.weight.detach().min()) for m in network.modules() if isinstance(m, nn.GroupNorm)} == {1.0}


def test_levels_of_rois_are_those_of_lin_et_al() -> None:
    assert PAPER.model.roi_canonical_scale == 224
    sides = torch.tensor([60.0, 112.0, 223.0, 224.0, 448.0, 900.0])
    boxes = torch.stack([torch.zeros(6), torch.zeros(6), sides, sides], 1)
    assert _detector().box_pool.levels(boxes).tolist() == [0, 1, 1, 2, 3, 3]
    assert _detector().box_pool.strides == (4, 8, 16, 32)


def test_detections_are_100_above_0_05_after_nms_at_half() -> None:
    evaluation = PAPER.evaluation
    found = (evaluation.score_threshold, evaluation.nms_iou, evaluation.detections_per_image)
    assert found == (0.05, 0.5, 100)


def test_the_plain_recipe_has_no_cascade_and_no_keypoints() -> None:
    assert PAPER.model.cascade is None
    assert PAPER.model.keypoint_head is None
    assert PAPER.model.neck == "fpn"
