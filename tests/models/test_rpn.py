"""Anchors, the anchors that are trained, and proposals."""

import dataclasses

import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from raystudy.models.anchors import grid_anchors, level_anchors
from raystudy.models.rpn import RegionProposalNetwork
from raystudy.models.targets import pad_targets
from raystudy.spec.model import RpnSpec
from tests.models.synthetic import random_batch

CPU = torch.device("cpu")
STRIDES = (4, 8, 16, 32)
SPEC = RpnSpec(anchor_sizes=(16, 32, 64, 128), pre_nms_train=100, post_nms_train=20, post_nms_train_per="image")


def _features(pictures: int, side: int) -> list[torch.Tensor]:
    return [torch.randn(pictures, 8, side // stride, side // stride) for stride in STRIDES]


def test_detectrons_anchors_of_stride_4_have_its_printed_shapes() -> None:
    # Detectron's generate_anchors(stride=4, sizes=(32,)): 48x24, 32x32 and 24x48 (rounded at the stride's scale).
    anchors = level_anchors(32, 4, RpnSpec())
    assert (anchors[:, 2:] - anchors[:, :2]).tolist() == [[48, 24], [32, 32], [24, 48]]


def test_torchvisions_anchors_are_torchvisions() -> None:
    spec = dataclasses.replace(SPEC, anchor_style="torchvision")
    shapes = tuple((96 // stride, 128 // stride) for stride in STRIDES)
    maps = [torch.zeros(1, 1, *shape) for shape in shapes]
    theirs = AnchorGenerator(((16,), (32,), (64,), (128,)), ((0.5, 1.0, 2.0),) * 4)
    expected = theirs(ImageList(torch.zeros(1, 3, 96, 128), [(96, 128)]), maps)[0]
    assert torch.equal(grid_anchors(spec, shapes, STRIDES, CPU), expected)


def test_detectrons_anchors_sit_on_the_centres_of_their_cells() -> None:
    anchors = grid_anchors(SPEC, ((24, 24), (12, 12), (6, 6), (3, 3)), STRIDES, CPU)
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert centres[0].tolist() == [2, 2]
    assert centres[-1].tolist() == [80, 80]
    assert len(anchors) == 3 * (24**2 + 12**2 + 6**2 + 3**2)


def test_straddle_limits_training_to_anchors_inside_the_unpadded_picture() -> None:
    rpn = RegionProposalNetwork(SPEC, 8, STRIDES)
    features = _features(2, 96)
    anchors = rpn.anchors(features)
    limits = torch.tensor([[96.0, 96, 96, 96], [64, 80, 64, 80]])
    usable = rpn._usable(anchors, limits)
    for own, (width, height) in zip(usable, ((96, 96), (64, 80)), strict=True):
        x1, y1, x2, y2 = anchors[own].unbind(1)
        assert x1.min() >= 0
        assert y1.min() >= 0
        assert x2.max() <= width
        assert y2.max() <= height
    everywhere = RegionProposalNetwork(dataclasses.replace(SPEC, straddle=-1), 8, STRIDES)
    assert everywhere._usable(anchors, limits).all()


def test_proposals_are_sorted_clipped_and_within_the_budget() -> None:
    torch.manual_seed(0)
    rpn = RegionProposalNetwork(SPEC, 8, STRIDES)
    features = _features(2, 96)
    limits = torch.tensor([[96.0, 96, 96, 96], [64, 80, 64, 80]])
    logits, deltas = rpn(features)
    found = rpn.propose(logits, deltas, rpn.anchors(features), limits, for_loss=True)
    assert found.boxes.shape == (2, 20, 4)
    assert found.valid.all()
    assert (found.boxes[1] <= limits[1]).all()
    assert (found.boxes >= 0).all()


def test_a_budget_for_the_batch_takes_the_best_of_all_its_pictures() -> None:
    torch.manual_seed(0)
    spec = dataclasses.replace(SPEC, post_nms_train_per="batch")
    rpn = RegionProposalNetwork(spec, 8, STRIDES)
    features = _features(4, 96)
    limits = torch.full((4, 4), 96.0)
    logits, deltas = rpn(features)
    logits = [logit + 100 * (torch.arange(4) == 2)[:, None] for logit in logits]
    found = rpn.propose(logits, deltas, rpn.anchors(features), limits, for_loss=True)
    # 20 for two pictures, so 40 for these four, and all of them from the picture with the better scores.
    assert found.valid.sum(1).tolist() == [0, 0, 40, 0]


def test_pictures_without_instances_train_background_only() -> None:
    torch.manual_seed(0)
    rpn = RegionProposalNetwork(SPEC, 8, STRIDES)
    features = _features(2, 96)
    logits, deltas = rpn(features)
    truth = pad_targets(random_batch((0, 0)).targets, CPU)
    losses = rpn.losses(logits, deltas, rpn.anchors(features), truth, torch.full((2, 4), 96.0))
    assert losses["loss_rpn_box"] == 0
    assert losses["loss_rpn_objectness"] > 0
