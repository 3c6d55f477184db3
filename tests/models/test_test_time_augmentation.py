"""Test-time augmentation: views map back exactly, mirror images give mirrored results, boxes and masks are merged."""

import dataclasses
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from raystudy.data.batch import Batch, Detections
from raystudy.errors import SpecError
from raystudy.models.box_head import Candidates
from raystudy.models.detector import Detector, build_detector
from raystudy.models.initialization import initialize
from raystudy.models.test_time_augmentation import augmented_views, detect_augmented, voted
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.identity import identity_dict
from raystudy.spec.model import CascadeSpec, KeypointHeadSpec, ModelSpec
from tests.models.synthetic import NUM_CATEGORIES, random_batch, tiny_spec

BOXES = torch.tensor([[10.0, 20.0, 40.0, 60.0], [30.0, 8.0, 54.0, 40.0]])
SIZES = [(96, 64), (64, 80)]


class _BrightBox:
    """Finds the bright rectangle of each picture, and as its mask what lies under it: left dark, right bright."""

    num_categories = 1
    has_masks = True
    has_keypoints = False

    def __init__(self, evaluation: EvalSpec) -> None:
        self.evaluation = evaluation
        self.widths: list[int] = []

    def features(self, batch: Batch) -> list[Tensor]:
        self.widths.append(batch.sizes[0][1])
        return [batch.images.float()]

    def candidates(self, features: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> Candidates:
        found = []
        for image in features[0][:, 0]:
            rows, columns = ((image > 60).any(axis).nonzero() for axis in (1, 0))
            found.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        numbers = torch.arange(len(found))
        return Candidates(torch.tensor(found).float(), 1 - 0.1 * numbers, torch.ones_like(numbers), numbers)

    def mask_probabilities(self, features: Sequence[Tensor], boxes: Tensor, valid: Tensor, labels: Tensor) -> Tensor:
        masks = []
        for image, box in zip(features[0][:, 0], boxes[valid].round().int().tolist(), strict=True):
            middle = image[(box[1] + box[3]) // 2, box[0] : box[2]]
            quarter = len(middle) // 4
            masks.append(torch.stack([middle[quarter], middle[-quarter]]).expand(2, 2) / 255)
        return torch.stack(masks)

    def keypoint_maps(self, features: Sequence[Tensor], boxes: Tensor, valid: Tensor) -> Tensor:
        raise AssertionError("it has no keypoints")


def _bright_batch() -> Batch:
    batch = random_batch((1, 1), tuple(SIZES))
    batch.images.zero_()
    for image, (x1, y1, x2, y2) in zip(batch.images, BOXES.int().tolist(), strict=True):
        image[:, y1:y2, x1 : (x1 + x2) // 2] = 100
        image[:, y1:y2, (x1 + x2) // 2 : x2] = 250
    return batch


def test_boxes_and_masks_of_all_scales_and_mirrors_come_back_to_the_picture() -> None:
    detector = _BrightBox(EvalSpec(scales=(32, 64, 128), flip=True, nms_iou=0.6))
    found = detect_augmented(detector, _bright_batch())
    assert detector.widths == [32, 32, 64, 64, 128, 128]
    for one, box in zip(found, BOXES, strict=True):
        assert len(one.boxes) == 1
        assert (one.boxes[0] - box).abs().max() <= 2  # a pixel of the smallest scale
        assert one.masks is not None
        # Were a mirrored mask not turned back, both sides would be near the middle.
        assert (one.masks[0, 0] - torch.tensor([100, 250]) / 255).abs().max() < 0.05


def test_the_longest_side_limits_the_scale() -> None:
    view = next(augmented_views(_bright_batch(), EvalSpec(scales=(128,), scales_max_side=144)))
    assert view.batch.sizes == [(144, 96), (115, 144)]
    assert tuple(view.batch.images.shape) == (2, 3, 160, 160)
    assert (view.batch.images[0, :, 144:] == 0).all()


def _detector(spec: ModelSpec, evaluation: EvalSpec) -> Detector:
    detector = build_detector(spec, NUM_CATEGORIES, evaluation).eval()
    initialize(detector, 0)
    torch.manual_seed(1)
    for module in (detector.rpn.objectness, detector.rpn.box):
        torch.nn.init.normal_(module.weight, std=0.1)
    for name, parameter in detector.box_head.named_parameters():
        if name.endswith(("category.weight", "box.weight")):
            torch.nn.init.normal_(parameter, std=0.1)
    return detector


def _same(one: Detections, other: Detections) -> None:
    assert len(one.boxes) == len(other.boxes) > 0
    torch.testing.assert_close(one.scores, other.scores, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one.boxes, other.boxes, rtol=1e-4, atol=1e-2)
    assert torch.equal(one.labels, other.labels)
    assert one.masks is not None
    assert other.masks is not None
    torch.testing.assert_close(one.masks, other.masks, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cascade", [None, CascadeSpec()])
@torch.no_grad()
def test_one_scale_that_is_the_pictures_own_changes_nothing(cascade: CascadeSpec | None) -> None:
    spec = dataclasses.replace(tiny_spec(), cascade=cascade)
    few = EvalSpec(score_threshold=0.1, detections_per_image=8)
    batch = random_batch((2, 1))
    plain = _detector(spec, few).detect(batch)
    again = _detector(spec, dataclasses.replace(few, scales=(96,))).detect(batch)
    for one, other in zip(plain, again, strict=True):
        _same(one, other)


@torch.no_grad()
def test_masks_are_the_mean_of_what_each_view_says_of_the_merged_boxes_at_the_masks_resolution() -> None:
    spec = tiny_spec()
    evaluation = EvalSpec(score_threshold=0.1, detections_per_image=4, scales=(64, 96))
    detector, batch = _detector(spec, evaluation), random_batch((2,))
    (found,) = detector.detect(batch)
    assert spec.mask_head is not None
    assert found.masks is not None
    side = spec.mask_head.mask_size
    assert found.masks.shape == (4, side, side)
    each = []
    for view in augmented_views(batch, evaluation):
        there, valid = found.boxes[None] * view.ratios[0], torch.ones(1, 4, dtype=torch.bool)
        each.append(detector.mask_probabilities(detector.features(view.batch), there, valid, found.labels))
    assert (each[0] - each[1]).abs().max() > 1e-3  # else the mean would say nothing
    torch.testing.assert_close(found.masks, (each[0] + each[1]) / 2)


@pytest.mark.parametrize("merge", ["nms", "vote"])
@torch.no_grad()
def test_the_mirror_image_of_a_picture_gives_the_mirror_image_of_its_detections(merge: str) -> None:
    evaluation = EvalSpec(score_threshold=0.1, detections_per_image=8, flip=True, merge=merge)  # type: ignore[arg-type]
    detector = _detector(tiny_spec(), evaluation).double()
    batch = random_batch((2, 1))
    mirrored = dataclasses.replace(batch, images=batch.images.flip(-1))
    for one, other in zip(detector.detect(batch), detector.detect(mirrored), strict=True):
        x1, y1, x2, y2 = other.boxes.unbind(1)
        assert other.masks is not None
        _same(
            one,
            Detections(torch.stack([96 - x2, y1, 96 - x1, y2], 1), other.scores, other.labels, other.masks.flip(-1)),
        )


def test_a_vote_is_the_mean_of_near_boxes_of_the_category_weighted_by_score() -> None:
    boxes = torch.tensor([[0.0, 0, 100, 100], [0, 0, 100, 96], [0, 0, 100, 50], [0, 0, 100, 100], [0, 0, 100, 100]])
    scores = torch.tensor([0.9, 0.3, 0.8, 0.9, 0.7])
    labels, image = torch.tensor([1, 1, 1, 2, 1]), torch.tensor([0, 0, 0, 0, 1])
    candidates = Candidates(boxes, scores, labels, image)
    found = Detections(boxes[:1], scores[:1], labels[:1])
    expected = torch.tensor([[0.0, 0, 100, (0.9 * 100 + 0.3 * 96) / 1.2]])
    torch.testing.assert_close(voted(found, candidates, 0, 0.9), expected)


KEYPOINTS = dataclasses.replace(
    tiny_spec(), keypoint_head=KeypointHeadSpec(num_keypoints=3, pool_size=4, num_convs=1, conv_channels=8)
)


@torch.no_grad()
def test_keypoints_are_averaged_over_scales() -> None:
    evaluation = EvalSpec(score_threshold=0.1, detections_per_image=3, scales=(64, 96))
    found = _detector(KEYPOINTS, evaluation).detect(random_batch((1,)))
    assert found[0].keypoints is not None
    assert found[0].keypoints.shape == (3, 3, 3)


@torch.no_grad()
def test_keypoints_of_a_mirror_image_change_sides_and_places() -> None:
    evaluation = EvalSpec(score_threshold=0.1, detections_per_image=4, flip=True)
    detector = _detector(KEYPOINTS, evaluation).double()
    detector.keypoint_mirror = (1, 0, 2)
    batch = random_batch((2, 1))
    mirrored = dataclasses.replace(batch, images=batch.images.flip(-1))
    for one, other in zip(detector.detect(batch), detector.detect(mirrored), strict=True):
        assert one.keypoints is not None
        assert other.keypoints is not None
        assert len(one.keypoints) > 0
        turned = other.keypoints[:, [1, 0, 2]]
        torch.testing.assert_close(one.keypoints[..., 2], turned[..., 2])
        assert (one.keypoints[..., 0] - (96 - turned[..., 0])).abs().max() < 1e-6
        assert (one.keypoints[..., 1] - turned[..., 1]).abs().max() < 1e-6


def test_keypoints_with_flip_are_refused_where_nobody_knows_their_sides() -> None:
    with pytest.raises(SpecError, match="change sides is not known"):
        _detector(KEYPOINTS, EvalSpec(flip=True)).detect(random_batch((1,)))


def test_augmentation_is_off_by_default_and_then_no_part_of_the_identity() -> None:
    assert not EvalSpec().is_augmented
    assert identity_dict(EvalSpec()) == {}
    assert identity_dict(EvalSpec(scales=(400, 800), flip=True)) == {"scales": [400, 800], "flip": True}


def test_settings_that_do_not_fit_are_told_together() -> None:
    assert len(EvalSpec(scales=(0, 3000), vote_iou=2.0).problems()) == 2
