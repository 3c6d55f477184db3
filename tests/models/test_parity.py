"""Same weights, same pictures: our losses and detections are torchvision's, computed by torchvision's own detector."""

import pytest
import torch

from benchmarks.parity import detector_differences, parity_batch, parity_detector, parity_inputs, parity_twin
from benchmarks.torchvision_detector import LOSS_NAMES
from raystudy.spec.model import Norm


@pytest.mark.parametrize("norm", ["gn", "bn"])
def test_losses_and_gradients_are_torchvisions(norm: Norm) -> None:
    ours = parity_detector(norm).train()
    theirs = parity_twin(ours).train()
    batch = parity_batch()
    losses = ours(batch)
    expected = theirs(*parity_inputs(batch))
    assert losses["loss_mask"] > 0
    assert losses["loss_keypoint"] > 0
    for their_name, name in LOSS_NAMES.items():
        ratio = losses[name].item() / expected[their_name].item()
        assert abs(ratio - 1) < 1e-6, f"{name}: {losses[name]} is not {expected[their_name]}"
    sum(losses.values()).backward()
    sum(expected.values()).backward()
    for name, other in (
        ("backbone.conv1", theirs.backbone.body.conv1),
        ("fpn.output.0.0", theirs.backbone.fpn.layer_blocks[0][0]),
        ("rpn.conv", theirs.rpn.head.conv[0][0]),
        ("box_head.fcs.0", theirs.roi_heads.box_head[5]),
    ):
        gradient = ours.get_parameter(f"{name}.weight").grad
        assert gradient is not None
        assert torch.dist(gradient, other.weight.grad) < 1e-4 * other.weight.grad.norm()


@pytest.mark.parametrize("norm", ["gn", "bn"])
def test_detections_are_torchvisions(norm: Norm) -> None:
    ours = parity_detector(norm).eval()
    theirs = parity_twin(ours).eval()
    batch = parity_batch()
    with torch.no_grad():
        found = ours.detect(batch)
        expected = theirs(parity_inputs(batch)[0])
    for one, other in zip(found, expected, strict=True):
        assert len(one.boxes) > 5
        torch.testing.assert_close(one.scores, other["scores"], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(one.boxes, other["boxes"], rtol=1e-5, atol=1e-4)
        assert torch.equal(one.labels, other["labels"])
        torch.testing.assert_close(one.masks, other["masks"][:, 0], rtol=1e-5, atol=1e-5)
        assert one.keypoints is not None
        torch.testing.assert_close(
            one.keypoints[..., :2], other["keypoints"][..., :2], rtol=1e-5, atol=1e-4, check_dtype=False
        )


@pytest.mark.parametrize("norm", ["gn", "bn"])
def test_in_float32_losses_and_detections_are_torchvisions_to_1e_4(norm: Norm) -> None:
    found = {difference.name: difference.value for difference in detector_differences(norm, torch.float32)}
    assert found.pop("gradient of conv1") < 1e-2
    assert len(found) == 10
    assert max(found.values()) < 1e-4, found


def test_maps_of_the_same_memory_layout_are_the_same_bits() -> None:
    ours = parity_detector("bn", torch.float32).train()
    theirs = parity_twin(ours).train()
    batch = parity_batch()
    with torch.no_grad():
        images = theirs.transform(parity_inputs(batch, torch.float32)[0])[0].tensors
        expected = theirs.backbone(images.contiguous(memory_format=torch.channels_last))
        assert all(torch.equal(own, other) for own, other in zip(ours.features(batch), expected.values(), strict=True))
