"""Same weights, same pictures: our losses and detections are torchvision's, computed by torchvision's own detector."""

from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.torchvision_detector import LOSS_NAMES, keep_sizes, torchvision_batch, torchvision_twin
from raystudy.data.batch import Batch
from raystudy.models.detector import Detector, build_detector
from raystudy.models.initialization import initialize
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.model import BoxHeadSpec, MaskHeadSpec, ModelSpec, Norm, PixelSpec, RpnSpec
from tests.models.synthetic import NUM_CATEGORIES, RasterMasks, random_batch

EVERYTHING = 1_000_000
"""A sampling budget that takes all candidates, so that nothing is random."""


def _parity_spec(norm: Norm) -> ModelSpec:
    """R50-FPN 4conv1fc with torchvision's choices wherever it differs from Detectron."""
    return ModelSpec(
        norm=norm,
        fpn_channels=32,
        pixels=PixelSpec(order="rgb", mean=(123.5, 116.25, 103.5), std=(64.0, 64.0, 64.0)),
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


def _detector(norm: Norm) -> Detector:
    detector = build_detector(
        _parity_spec(norm), NUM_CATEGORIES, EvalSpec(score_threshold=0.15, detections_per_image=40)
    )
    initialize(detector, 0)
    # Predictors that say something: with the recipe's, all boxes would be anchors and all scores equal.
    torch.manual_seed(0)
    for module in (detector.rpn.objectness, detector.rpn.box, detector.box_head.category, detector.box_head.box):
        nn.init.normal_(module.weight, std=0.05)
    # In float64, so that only real differences show: in float32 fifty layers of random weights blow up rounding.
    return detector.double()


def _twin(ours: Detector) -> Any:
    theirs = torchvision_twin(ours, min_size=1, max_size=1000)
    keep_sizes(theirs)
    return theirs.double()


def _torchvision_batch(batch: Batch) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    masks = [target.masks.masks for target in batch.targets if isinstance(target.masks, RasterMasks)]
    images, targets = torchvision_batch(batch, masks)
    return [(255 * image).round().double() / 255 for image in images], targets


@pytest.mark.parametrize("norm", ["gn", "bn"])
def test_losses_and_gradients_are_torchvisions(norm: Norm) -> None:
    ours = _detector(norm).train()
    theirs = _twin(ours).train()
    batch = random_batch((3, 5), ((96, 128), (80, 96)))
    losses = ours(batch)
    expected = theirs(*_torchvision_batch(batch))
    assert losses["loss_mask"] > 0
    for their_name, name in LOSS_NAMES.items():
        ratio = losses[name].item() / expected[their_name].item()
        assert abs(ratio - 1) < 1e-6, f"{name}: {losses[name]} is not {expected[their_name]}"
    sum(losses.values()).backward()
    sum(expected.values()).backward()
    for one, other in (
        (ours.backbone.conv1, theirs.backbone.body.conv1),
        (ours.fpn.output[0][0], theirs.backbone.fpn.layer_blocks[0][0]),  # type: ignore[index]
        (ours.rpn.conv, theirs.rpn.head.conv[0][0]),
        (ours.box_head.fcs[0], theirs.roi_heads.box_head[5]),
    ):
        assert torch.dist(one.weight.grad, other.weight.grad) < 1e-4 * other.weight.grad.norm()  # type: ignore


@pytest.mark.parametrize("norm", ["gn", "bn"])
def test_detections_are_torchvisions(norm: Norm) -> None:
    ours = _detector(norm).eval()
    theirs = _twin(ours).eval()
    batch = random_batch((3, 5), ((96, 128), (80, 96)))
    with torch.no_grad():
        found = ours.detect(batch)
        expected = theirs(_torchvision_batch(batch)[0])
    for one, other in zip(found, expected, strict=True):
        assert len(one.boxes) > 5
        torch.testing.assert_close(one.scores, other["scores"], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(one.boxes, other["boxes"], rtol=1e-5, atol=1e-4)
        assert torch.equal(one.labels, other["labels"])
        torch.testing.assert_close(one.masks, other["masks"][:, 0], rtol=1e-5, atol=1e-5)
