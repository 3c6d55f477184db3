"""Cascade, keypoints and VGG compose with each other, lower precision, going on from a state, and divergence."""

import dataclasses

import pytest
import torch

from raystudy.data.batch import Batch
from raystudy.models.detector import Detector, build_detector
from raystudy.models.initialization import initialize
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.model import CascadeSpec, KeypointHeadSpec, ModelSpec
from tests.models.synthetic import NUM_CATEGORIES, random_batch, tiny_spec

KEYPOINTS = KeypointHeadSpec(num_keypoints=3, pool_size=4, num_convs=1, conv_channels=8)
VARIANTS: dict[str, ModelSpec] = {
    "cascade": dataclasses.replace(tiny_spec(), cascade=CascadeSpec()),
    "keypoints": dataclasses.replace(tiny_spec(has_masks=False), keypoint_head=KEYPOINTS),
    "cascade, masks and keypoints": dataclasses.replace(
        tiny_spec(norm="bn"), cascade=CascadeSpec(), keypoint_head=KEYPOINTS
    ),
    "vgg cascade": dataclasses.replace(
        tiny_spec("tiny_vgg", "none", has_masks=False), neck="none", cascade=CascadeSpec()
    ),
}


def _batch() -> Batch:
    batch = random_batch((2, 3))
    for target in batch.targets:
        middle = (target.boxes[:, :2] + target.boxes[:, 2:]) / 2
        target.keypoints = torch.cat([middle, torch.full((len(middle), 1), 2.0)], 1)[:, None].repeat(1, 3, 1)
    return batch


def _detector(spec: ModelSpec) -> Detector:
    detector = build_detector(spec, NUM_CATEGORIES, EvalSpec(score_threshold=0.01, detections_per_image=3))
    initialize(detector, 0)
    return detector


@pytest.mark.parametrize("name", VARIANTS)
def test_losses_and_detections_in_bfloat16_are_near_those_in_float32(name: str) -> None:
    detector, batch = _detector(VARIANTS[name]), _batch()
    torch.manual_seed(0)
    exact = detector(batch)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = detector(batch)
    assert list(exact) == list(rough)
    assert all(loss.dtype == torch.float32 for loss in rough.values())
    total = [sum(losses.values(), torch.zeros(())) for losses in (exact, rough)]
    assert torch.isclose(total[0], total[1], rtol=0.1)
    total[1].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters())
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(len(one.boxes) for one in detector.eval().detect(batch))


@pytest.mark.parametrize("name", VARIANTS)
def test_three_iterations_go_on_bit_equal_from_a_state_after_the_first(name: str) -> None:
    def trained(detector: Detector, iterations: range) -> list[float]:
        optimizer = torch.optim.SGD(detector.parameters(), lr=1e-4)
        values = []
        for _ in iterations:
            torch.manual_seed(0)
            loss = sum(detector(_batch()).values(), torch.zeros(()))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            values.append(loss.item())
        return values

    whole = trained(_detector(VARIANTS[name]), range(3))
    first = _detector(VARIANTS[name])
    assert trained(first, range(1)) == whole[:1]
    second = build_detector(VARIANTS[name], NUM_CATEGORIES, EvalSpec())
    second.load_state_dict(first.state_dict())
    assert trained(second, range(1, 3)) == whole[1:]
    assert whole[2] < whole[0]


@pytest.mark.parametrize("name", ["plain", *VARIANTS])
@pytest.mark.parametrize("part", ["rpn.box", "backbone", "box_head"])
def test_a_network_that_diverged_says_so_by_its_loss_and_does_not_crash(name: str, part: str) -> None:
    detector, batch = _detector(VARIANTS.get(name, tiny_spec())), _batch()
    with torch.no_grad():
        for key, parameter in detector.named_parameters():
            if key.startswith(part):
                parameter.fill_(torch.nan)
        assert not torch.stack(list(detector(batch).values())).isfinite().all()
        detector.eval().detect(batch)
    # With gradients pooling is computed in another way.
    assert not torch.stack(list(detector.train()(batch).values())).isfinite().all()
