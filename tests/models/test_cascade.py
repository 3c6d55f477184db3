"""Cascade R-CNN against a reference that is written box by box; the switch from a plain detector."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from raystudy.data.batch import Target
from raystudy.errors import SpecError
from raystudy.models.box_head import Rois, draw_rois
from raystudy.models.cascade import CascadeHead, carry_over
from raystudy.models.detector import Detector, build_detector
from raystudy.models.initialization import initialize
from raystudy.models.rpn import Proposals
from raystudy.models.targets import pad_targets
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.identity import identity_dict
from raystudy.spec.model import CascadeSpec, ModelSpec
from tests.models.synthetic import NUM_CATEGORIES, random_batch, tiny_spec

IOUS = (0.5, 0.6, 0.7)
WEIGHTS = ((10, 10, 5, 5), (20, 20, 10, 10), (30, 30, 15, 15))
Box = list[float]


def _spec() -> ModelSpec:
    return dataclasses.replace(tiny_spec(), cascade=CascadeSpec())


def _detector(spec: ModelSpec) -> Detector:
    detector = build_detector(spec, NUM_CATEGORIES, EvalSpec(score_threshold=0.01, detections_per_image=5))
    initialize(detector, 0)
    return detector


def _iou(a: Box, b: Box) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def _decode(box: Box, delta: Box, weights: tuple[int, ...], side: float) -> Box:
    dx, dy, dw, dh = (d / w for d, w in zip(delta, weights, strict=True))
    width, height = box[2] - box[0], box[3] - box[1]
    x, y = box[0] + width / 2 + dx * width, box[1] + height / 2 + dy * height
    width, height = width * math.exp(dw), height * math.exp(dh)
    corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    return [min(max(corner, 0.0), side) for corner in corners]


def _encode(box: Box, truth: Box, weights: tuple[int, ...]) -> Box:
    width, height = box[2] - box[0], box[3] - box[1]
    shift = [((truth[i] + truth[i + 2]) - (box[i] + box[i + 2])) / 2 / size for i, size in ((0, width), (1, height))]
    scale = [math.log((truth[i + 2] - truth[i]) / size) for i, size in ((0, width), (1, height))]
    return [value * weight for value, weight in zip([*shift, *scale], weights, strict=True)]


def _look(boxes: Tensor) -> Tensor:
    """Made-up pooled features of boxes [N, 4]: they depend on where the box is, and on nothing else."""
    mixing = torch.randn(4, 16 * 49, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return (boxes / 20 @ mixing).sin().view(-1, 16, 7, 7)


def _reference(
    head: CascadeHead, boxes: list[Box], truth: list[Box], labels: list[int]
) -> tuple[float, float, list[list[float]], list[Box]]:
    """Losses, mean scores and last stage's boxes of one picture of 96 px."""
    class_loss = box_loss = 0.0
    scores = [[0.0] * (NUM_CATEGORIES + 1) for _ in boxes]
    for stage, iou, weights in zip(head.stages, IOUS, WEIGHTS, strict=True):
        moved = []
        for index, box in enumerate(boxes):
            logit, delta = stage(_look(torch.tensor([box]).double()))
            overlaps = [_iou(box, other) for other in truth]
            best = max(range(len(truth)), key=overlaps.__getitem__)
            label = labels[best] if overlaps[best] >= iou else 0
            class_loss += F.cross_entropy(logit, torch.tensor([label])).item() / len(boxes)
            if label:
                target = torch.tensor([_encode(box, truth[best], weights)])
                distance = F.smooth_l1_loss(delta[:, 0], target.to(delta), reduction="sum")
                box_loss += distance.item() / len(boxes)
            shares = (logit.softmax(-1) / 3)[0].tolist()
            scores[index] = [have + share for have, share in zip(scores[index], shares, strict=True)]
            moved.append(_decode(box, delta[0, 0].tolist(), weights, 96.0))
        boxes = moved
    return class_loss, box_loss, scores, boxes


def _case() -> tuple[CascadeHead, Target, Proposals]:
    """A head whose deltas move boxes by a few pixels, and proposals around three instances."""
    detector = _detector(_spec())
    head = detector.box_head
    assert isinstance(head, CascadeHead)
    torch.manual_seed(4)
    for stage in head.stages:
        torch.nn.init.normal_(stage.box.weight, std=0.3)  # type: ignore[arg-type, union-attr]
        torch.nn.init.normal_(stage.category.weight, std=0.3)  # type: ignore[arg-type, union-attr]
    head.double()
    target = random_batch((3,)).targets[0]
    corners = (target.boxes.double().repeat(6, 1) + 6 * torch.randn(18, 4)).view(-1, 2, 2)
    boxes = torch.cat([corners.amin(1), corners.amax(1) + 4], 1).clamp(0, 96)[None]
    return head, target, Proposals(boxes, torch.ones(1, 18, dtype=torch.bool))


def _pool(boxes: Tensor, valid: Tensor) -> Tensor:
    return _look(boxes[valid])


LIMITS = torch.full((1, 4), 96.0, dtype=torch.float64)


def test_losses_are_those_of_the_reference() -> None:
    head, target, proposals = _case()
    truth = pad_targets([target], torch.device("cpu"))
    truth.boxes = truth.boxes.double()
    rois = draw_rois(
        dataclasses.replace(head.first_spec, rois_per_image=1000, foreground_fraction=1.0), proposals, truth
    )
    losses, last = head.losses(_pool, rois, truth, LIMITS)
    start: list[Box] = rois.boxes[0].tolist()
    expected = _reference(head, start, target.boxes.tolist(), target.labels.tolist())
    assert losses["loss_box_class"].item() == pytest.approx(expected[0], rel=1e-5)
    assert losses["loss_box_reg"].item() == pytest.approx(expected[1], rel=1e-5)
    foreground = last.is_foreground[0].tolist()
    assert 0 < sum(foreground) < int(rois.is_foreground.sum())
    assert foreground == sorted(foreground, reverse=True)


def test_detections_are_those_of_the_reference() -> None:
    head, target, proposals = _case()
    found = head.candidates(_pool, proposals, LIMITS, 0.0)
    start: list[Box] = proposals.boxes[0].tolist()
    _, _, scores, boxes = _reference(head, start, target.boxes.tolist(), target.labels.tolist())
    torch.testing.assert_close(found.scores, torch.tensor([row[1:] for row in scores]).flatten().double())
    expected = torch.tensor(boxes).double().repeat_interleave(NUM_CATEGORIES, 0)
    torch.testing.assert_close(found.boxes, expected, rtol=1e-4, atol=1e-4)
    assert found.labels.tolist() == list(range(1, NUM_CATEGORIES + 1)) * 18


def test_each_head_sends_a_third_of_its_gradient_into_the_features() -> None:
    head, target, _ = _case()
    features = torch.randn(1, 16, 7, 7, dtype=torch.float64, requires_grad=True)
    own = torch.ones(1, 1, dtype=torch.bool)
    # A box that touches no instance: background at every stage, wherever it moves within its picture's corner.
    rois = Rois(torch.tensor([[[1.0, 1.0, 2.0, 2.0]]]).double(), own, ~own, own.long() * 0, own.long() * 0)
    truth = pad_targets([target], torch.device("cpu"))
    truth.boxes = truth.boxes.double() + 40
    losses, _ = head.losses(lambda boxes, valid: features, rois, truth, LIMITS)
    scaled = torch.autograd.grad(losses["loss_box_class"], features)[0]
    plain = sum(F.cross_entropy(stage(features)[0], torch.zeros(1, dtype=torch.int64)) for stage in head.stages)
    assert isinstance(plain, Tensor)
    torch.testing.assert_close(scaled, torch.autograd.grad(plain, features)[0] / 3)


@pytest.mark.parametrize("instances", [(2, 3), (0, 2), (0, 0)])
def test_all_parts_train_whatever_the_batch_holds(instances: tuple[int, ...]) -> None:
    detector = _detector(_spec())
    losses = detector(random_batch(instances))
    assert list(losses) == ["loss_rpn_objectness", "loss_rpn_box", "loss_box_class", "loss_box_reg", "loss_mask"]
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters())


def test_masks_come_with_the_last_stages_boxes() -> None:
    with torch.no_grad():
        found = _detector(_spec()).eval().detect(random_batch((2, 0)))
    assert [len(one.boxes) for one in found] == [5, 5]
    assert all(one.masks is not None and len(one.masks) == 5 for one in found)


def test_a_plain_detector_goes_on_as_a_cascade_whose_stages_predict_its_mean_box() -> None:
    plain, cascade = _detector(tiny_spec()), build_detector(_spec(), NUM_CATEGORIES, EvalSpec())
    state = carry_over(plain.state_dict(), plain.spec.box_head, CascadeSpec())
    cascade.load_state_dict(state, strict=True)
    pooled = torch.randn(3, 16, 7, 7)
    logits, deltas = plain.box_head(pooled)
    assert isinstance(cascade.box_head, CascadeHead)
    for number, stage in enumerate(cascade.box_head.stages, 1):
        own_logits, own_deltas = stage(pooled)
        assert torch.equal(own_logits, logits)
        torch.testing.assert_close(own_deltas[:, 0], number * deltas[:, 1:].mean(1), rtol=1e-4, atol=1e-6)
    others = {key: value for key, value in plain.state_dict().items() if not key.startswith("box_head.")}
    assert all(torch.equal(state[key], value) for key, value in others.items())


def test_a_cascade_is_not_carried_over_again() -> None:
    with pytest.raises(ValueError, match="without cascade"):
        carry_over(_detector(_spec()).state_dict(), _spec().box_head, CascadeSpec())


def test_stages_that_do_not_fit_are_told_together() -> None:
    spec = dataclasses.replace(tiny_spec(), cascade=CascadeSpec(foreground_ious=(0.5, 1.5)))
    with pytest.raises(SpecError) as error:
        build_detector(spec, NUM_CATEGORIES, EvalSpec())
    assert len(error.value.problems) == 2


def test_a_cascade_is_part_of_the_identity_and_its_absence_keeps_old_ids() -> None:
    assert "cascade" not in identity_dict(ModelSpec())
    assert identity_dict(dataclasses.replace(ModelSpec(), cascade=CascadeSpec())) == {"cascade": {}}
