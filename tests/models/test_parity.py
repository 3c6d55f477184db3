"""Same weights, same pictures: our losses and detections are torchvision's, computed by torchvision's own detector."""

import pytest
import torch
from torch import nn

from raystudy.models.detector import Detector, build_detector
from raystudy.models.initialization import initialize
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.model import Norm
from tests.models.synthetic import NUM_CATEGORIES, random_batch
from tests.models.torchvision_twin import as_torchvision, parity_spec, twin

NAMES = {
    "loss_objectness": "loss_rpn_objectness",
    "loss_rpn_box_reg": "loss_rpn_box",
    "loss_classifier": "loss_box_class",
    "loss_box_reg": "loss_box_reg",
    "loss_mask": "loss_mask",
}


def _detector(norm: Norm) -> Detector:
    detector = build_detector(
        parity_spec(norm), NUM_CATEGORIES, EvalSpec(score_threshold=0.15, detections_per_image=40)
    )
    initialize(detector, 0)
    # Predictors that say something: with the recipe's, all boxes would be anchors and all scores equal.
    torch.manual_seed(0)
    for module in (detector.rpn.objectness, detector.rpn.box, detector.box_head.category, detector.box_head.box):
        nn.init.normal_(module.weight, std=0.05)
    return detector


@pytest.mark.parametrize("norm", ["gn", "bn"])
def test_losses_and_gradients_are_torchvisions(norm: Norm) -> None:
    ours = _detector(norm).train()
    theirs = twin(ours).train()
    batch = random_batch((3, 5), ((96, 128), (80, 96)))
    losses = ours(batch)
    expected = theirs(*as_torchvision(batch))
    assert losses["loss_mask"] > 0
    for their_name, name in NAMES.items():
        torch.testing.assert_close(losses[name], expected[their_name], rtol=1e-4, atol=1e-6, msg=name)
    sum(losses.values()).backward()
    sum(expected.values()).backward()
    # Float32 through fifty layers of random weights: ReLUs at the edge differ. A wrong factor would show as 1.
    for one, other in (
        (ours.backbone.conv1, theirs.backbone.body.conv1),
        (ours.fpn.output[0][0], theirs.backbone.fpn.layer_blocks[0][0]),  # type: ignore[index]
        (ours.rpn.conv, theirs.rpn.head.conv[0][0]),
        (ours.box_head.fcs[0], theirs.roi_heads.box_head[5]),
    ):
        assert torch.dist(one.weight.grad, other.weight.grad) < 0.06 * other.weight.grad.norm()  # type: ignore


@pytest.mark.parametrize("norm", ["gn", "bn"])
def test_detections_are_torchvisions(norm: Norm) -> None:
    ours = _detector(norm).eval()
    theirs = twin(ours).eval()
    batch = random_batch((3, 5), ((96, 128), (80, 96)))
    with torch.no_grad():
        found = ours.detect(batch)
        expected = theirs(as_torchvision(batch)[0])
    for one, other in zip(found, expected, strict=True):
        assert len(one.boxes) > 5
        torch.testing.assert_close(one.scores, other["scores"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(one.boxes, other["boxes"], rtol=1e-4, atol=1e-2)
        assert torch.equal(one.labels, other["labels"])
        torch.testing.assert_close(one.masks, other["masks"][:, 0], rtol=1e-3, atol=1e-3)
