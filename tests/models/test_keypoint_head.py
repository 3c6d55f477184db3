"""Keypoint branch: torchvision's losses and places with the same weights; what the data must give."""

import dataclasses

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.roi_heads import heatmaps_to_keypoints, keypointrcnn_loss

from raystudy.data.batch import Batch
from raystudy.errors import DataError
from raystudy.models.box_head import Rois
from raystudy.models.detector import Detector, build_detector
from raystudy.models.initialization import initialize
from raystudy.models.keypoint_head import KeypointHead, keypoint_targets, place_keypoints
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.model import KeypointHeadSpec
from tests.models.synthetic import NUM_CATEGORIES, random_batch, tiny_spec

SMALL = KeypointHeadSpec(num_keypoints=5, pool_size=4, num_convs=2, conv_channels=16)


def _with_keypoints(batch: Batch, number: int = 5) -> Batch:
    """Random keypoints around each box: inside and outside, labelled or not."""
    generator = torch.Generator().manual_seed(1)
    for target in batch.targets:
        low, side = target.boxes[:, None, :2], target.boxes[:, None, 2:] - target.boxes[:, None, :2]
        place = low + side * (1.2 * torch.rand(len(target.boxes), number, 2, generator=generator) - 0.1)
        seen = torch.randint(0, 3, (len(target.boxes), number, 1), generator=generator)
        target.keypoints = torch.cat([place, seen], 2)
    return batch


def _head(spec: KeypointHeadSpec) -> tuple[KeypointHead, list[torch.nn.Module]]:
    torch.manual_seed(0)
    ours = KeypointHead(spec, 8, lambda channels: torch.nn.GroupNorm(4, channels))
    body = KeypointRCNNHeads(8, [spec.conv_channels] * spec.num_convs)
    predictor = KeypointRCNNPredictor(spec.conv_channels, spec.num_keypoints)
    convs = [module for module in ours.modules() if isinstance(module, torch.nn.Conv2d)]
    for own, theirs in zip(convs, (m for m in body if isinstance(m, torch.nn.Conv2d)), strict=True):
        theirs.load_state_dict(own.state_dict())
    predictor.kps_score_lowres.load_state_dict(ours.deconv.state_dict())
    return ours, [body, predictor]


def _rois(batch: Batch, per_instance: int = 3) -> Rois:
    """Jittered boxes of the instances, one background RoI at the end of each picture."""
    generator = torch.Generator().manual_seed(2)
    number = per_instance * min(len(target.boxes) for target in batch.targets)
    instance = torch.stack([torch.arange(number) % len(target.boxes) for target in batch.targets])
    boxes = torch.stack([t.boxes[i] for t, i in zip(batch.targets, instance, strict=True)])
    boxes = boxes + 4 * torch.rand(boxes.shape, generator=generator) - 2
    boxes[0, 0] = batch.targets[0].boxes[0]
    foreground = torch.ones(instance.shape, dtype=torch.bool)
    foreground[:, -1] = False
    labels = torch.stack([t.labels[i] for t, i in zip(batch.targets, instance, strict=True)])
    return Rois(boxes, torch.ones_like(foreground), foreground, instance, labels * foreground)


def test_defaults_are_detectrons() -> None:
    spec = KeypointHeadSpec()
    assert (spec.num_convs, spec.conv_channels, spec.num_keypoints, spec.map_size) == (8, 512, 17, 56)
    with torch.device("meta"):
        head = KeypointHead(spec, 256, lambda channels: torch.nn.GroupNorm(32, channels))
        assert head(torch.zeros(2, 256, 14, 14)).shape == (2, 17, 56, 56)
    assert not [module for module in head.modules() if isinstance(module, torch.nn.GroupNorm)]


def test_maps_loss_and_gradients_are_torchvisions() -> None:
    ours, (body, predictor) = _head(SMALL)
    batch = _with_keypoints(random_batch((3, 4)))
    # The corner of a RoI, which lies on the lower right edge of the last cell.
    assert batch.targets[0].keypoints is not None
    batch.targets[0].keypoints[0, 0] = torch.tensor([*batch.targets[0].boxes[0, 2:], 2.0])
    rois = _rois(batch)
    pooled = torch.randn(int(rois.is_foreground.sum()), 8, 4, 4)
    maps, expected_maps = ours(pooled), predictor(body(pooled))
    torch.testing.assert_close(maps, expected_maps)
    places, valid = keypoint_targets(batch.targets, rois, SMALL)
    assert valid.any()
    assert not valid.all()
    loss = ours.loss(maps, places, valid)["loss_keypoint"]
    boxes = [own[keep] for own, keep in zip(rois.boxes, rois.is_foreground, strict=True)]
    matched = [own[keep] for own, keep in zip(rois.instance, rois.is_foreground, strict=True)]
    expected = keypointrcnn_loss(expected_maps, boxes, [target.keypoints for target in batch.targets], matched)
    torch.testing.assert_close(loss, expected)
    loss.backward()  # type: ignore[no-untyped-call]
    expected.backward()
    torch.testing.assert_close(ours.deconv.weight.grad, predictor.kps_score_lowres.weight.grad)  # type: ignore[union-attr]


def test_places_are_torchvisions() -> None:
    maps = torch.randn(6, 5, 16, 16, generator=torch.Generator().manual_seed(0))
    corner = 40 * torch.rand(6, 2, generator=torch.Generator().manual_seed(1))
    boxes = torch.cat([corner, corner + torch.tensor([[30.5, 17.2]])], 1)
    boxes[0, 2:] = boxes[0, :2] + 0.3
    expected, scores = heatmaps_to_keypoints(maps, boxes)
    found = place_keypoints(maps, boxes)
    torch.testing.assert_close(found[..., :2], expected[..., :2])
    torch.testing.assert_close(found[..., 2], scores)


def _detector() -> Detector:
    spec = dataclasses.replace(tiny_spec(), keypoint_head=SMALL)
    detector = build_detector(spec, NUM_CATEGORIES, EvalSpec(score_threshold=0.01, detections_per_image=4))
    initialize(detector, 0)
    return detector


@pytest.mark.parametrize("instances", [(2, 3), (0, 2), (0, 0)])
def test_a_detector_with_keypoints_has_a_loss_that_trains_everything(instances: tuple[int, ...]) -> None:
    detector = _detector()
    losses = detector(_with_keypoints(random_batch(instances)))
    assert list(losses)[-1] == "loss_keypoint"
    assert losses["loss_keypoint"].isfinite()
    assert (losses["loss_keypoint"] > 0) == (sum(instances) > 0)
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters())


def test_detections_have_keypoints_inside_their_boxes() -> None:
    with torch.no_grad():
        found = _detector().eval().detect(random_batch((2, 0)))
    for one in found:
        assert one.keypoints is not None
        assert one.keypoints.shape == (len(one.boxes), 5, 3)
        place = one.keypoints[..., :2]
        low, high = one.boxes[:, None, :2], torch.maximum(one.boxes[:, None, 2:], one.boxes[:, None, :2] + 1)
        assert ((place >= low - 1e-3) & (place <= high + 1e-3)).all()


@pytest.mark.parametrize(("number", "message"), [(None, "no keypoints"), (4, "have 4 keypoints")])
def test_data_without_fitting_keypoints_is_refused(number: int | None, message: str) -> None:
    batch = random_batch((2, 2))
    if number is not None:
        _with_keypoints(batch, number)
    rois: Rois = _rois(batch)
    with pytest.raises(DataError, match=message):
        keypoint_targets(batch.targets, rois, SMALL)


def test_a_heads_norm_follows_its_convolutions_only_when_asked_for() -> None:
    spec = dataclasses.replace(SMALL, has_norm=True)
    head = KeypointHead(spec, 8, lambda channels: torch.nn.GroupNorm(4, channels))
    x: Tensor = head(torch.randn(1, 8, 4, 4))
    assert x.shape == (1, 5, 16, 16)
    assert sum(isinstance(module, torch.nn.GroupNorm) for module in head.modules()) == 2
