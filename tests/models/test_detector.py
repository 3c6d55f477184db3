"""The detector as a whole: losses in every situation, detections, where norms are."""

import dataclasses

import pytest
import torch
from torch import nn

from raystudy.data.batch import Batch
from raystudy.errors import SpecError
from raystudy.models.detector import Detector, build_detector
from raystudy.models.initialization import initialize
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.model import Backbone, ModelSpec, Norm
from tests.models.synthetic import NUM_CATEGORIES, random_batch, tiny_spec

LOSSES = ["loss_rpn_objectness", "loss_rpn_box", "loss_box_class", "loss_box_reg", "loss_mask"]
NORMS: tuple[Norm, ...] = ("gn", "sync_bn", "bn", "frozen_bn", "none")


def _detector(spec: ModelSpec | None = None, **evaluation: float) -> Detector:
    detector = build_detector(spec or tiny_spec(), NUM_CATEGORIES, EvalSpec(**evaluation))  # type: ignore[arg-type]
    initialize(detector, 0)
    return detector


def _losses_and_gradients(detector: Detector, batch: Batch) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    losses: dict[str, torch.Tensor] = detector(batch)
    sum(losses.values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]
    return losses


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("backbone", ["tiny", "tiny_deep", "tiny_grouped", "tiny_vgg"])
def test_every_backbone_and_norm_gives_losses_and_trains_all_of_its_parameters(backbone: Backbone, norm: Norm) -> None:
    detector = _detector(tiny_spec(backbone, norm))
    losses = _losses_and_gradients(detector, random_batch())
    assert list(losses) == LOSSES
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    unmoved = [name for name, parameter in detector.named_parameters() if parameter.grad is None]
    assert not unmoved
    assert all(parameter.requires_grad for parameter in detector.parameters())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("instances", [(0, 0), (0, 3), (1,)])
def test_pictures_without_instances_give_finite_losses_and_every_gradient(
    instances: tuple[int, ...], norm: Norm
) -> None:
    detector = _detector(tiny_spec(norm=norm))
    losses = _losses_and_gradients(detector, random_batch(instances))
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters())
    if not any(instances):
        assert losses["loss_mask"] == losses["loss_box_reg"] == losses["loss_rpn_box"] == 0
        assert detector.mask_head is not None
        assert not any(p.grad.any() for p in detector.mask_head.parameters() if p.grad is not None)


def test_without_mask_head_it_is_faster_rcnn() -> None:
    detector = _detector(tiny_spec(has_masks=False))
    assert list(_losses_and_gradients(detector, random_batch())) == LOSSES[:-1]
    with torch.no_grad():
        assert detector.eval().detect(random_batch())[0].masks is None


def test_losses_repeat_with_the_seed_and_are_the_same_in_evaluation_mode() -> None:
    # GN behaves alike in both modes, so that validation loss is comparable with training loss.
    detector, batch = _detector(), random_batch()
    values = []
    for mode in (True, True, False):
        torch.manual_seed(3)
        values.append(torch.stack(list(detector.train(mode)(batch).values())))
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[0], values[2])


def test_losses_of_one_picture_do_not_depend_on_padding_content() -> None:
    batch = random_batch((3,), ((80, 70),))
    other = dataclasses.replace(batch, images=batch.images.clone())
    other.images[:, :, 80:] = 200
    detector = _detector()
    first, second = (_losses_and_gradients(detector, b) for b in (batch, other))
    assert all(torch.equal(first[name], second[name]) for name in LOSSES)


def test_detections_are_clipped_sorted_limited_and_have_masks() -> None:
    detector = _detector(score_threshold=0.01, detections_per_image=7).eval()
    batch = random_batch((3, 0), ((96, 64), (50, 96)))
    with torch.no_grad():
        found = detector.detect(batch)
    assert len(found) == 2
    for one, (height, width) in zip(found, batch.sizes, strict=True):
        assert len(one.boxes) == len(one.scores) == len(one.labels) == 7
        assert (one.scores.diff() <= 0).all()
        assert ((one.boxes >= 0) & (one.boxes <= torch.tensor([width, height, width, height]))).all()
        assert set(one.labels.tolist()) <= set(range(1, NUM_CATEGORIES + 1))
        assert one.masks is not None
        assert one.masks.shape == (7, 8, 8)
        assert ((one.masks > 0) & (one.masks < 1)).all()


def test_a_threshold_that_nothing_reaches_gives_empty_detections() -> None:
    with torch.no_grad():
        found = _detector(score_threshold=0.999).eval().detect(random_batch())
    assert [tuple(one.boxes.shape) for one in found] == [(0, 4), (0, 4)]
    assert [tuple(one.masks.shape) for one in found if one.masks is not None] == [(0, 8, 8), (0, 8, 8)]


def test_norm_is_in_backbone_pyramid_and_head_convolutions_and_nowhere_else() -> None:
    with torch.device("meta"):
        detector = build_detector(ModelSpec(norm="gn"), 80, EvalSpec())
    normed = [name for name, module in detector.named_modules() if isinstance(module, nn.GroupNorm)]
    inside = {name: sum(n.startswith(name) for n in normed) for name in ("fpn", "box_head.convs", "mask_head.convs")}
    assert inside == {"fpn": 8, "box_head.convs": 4, "mask_head.convs": 4}
    assert {name.split(".")[0] for name in normed} == {"backbone", "fpn", "box_head", "mask_head"}
    assert sum(name.startswith("backbone") for name in normed) == 53
    assert len(normed) == 53 + 8 + 4 + 4


def test_frozen_bn_freezes_exactly_norm_statistics_and_affine() -> None:
    frozen = _detector(tiny_spec(norm="frozen_bn")).backbone
    trained = _detector(tiny_spec(norm="bn")).backbone
    names = {name for name, _ in trained.named_parameters()}
    assert names - {name for name, _ in frozen.named_parameters()} == {
        name for name in names if "bn" in name or ".1." in name
    }
    before = {key: value.clone() for key, value in frozen.state_dict().items()}
    frozen.train()(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(value, before[key]) for key, value in frozen.state_dict().items())


def test_the_extra_level_is_for_proposals_only_and_other_numbers_of_levels_are_refused() -> None:
    spec = tiny_spec()
    five = dataclasses.replace(spec, rpn=dataclasses.replace(spec.rpn, anchor_sizes=(8, 16, 32, 64, 128)))
    detector = _detector(five)
    assert len(detector.features(random_batch())) == 5
    assert detector.box_pool.strides == (4, 8, 16, 32)
    three = dataclasses.replace(spec, rpn=dataclasses.replace(spec.rpn, anchor_sizes=(16, 32, 64)))
    with pytest.raises(SpecError, match="anchor_sizes has 3 levels"):
        build_detector(three, NUM_CATEGORIES, EvalSpec())


def test_four_pictures_are_learnt_by_heart() -> None:
    detector, batch = _detector(), random_batch((2, 2, 2, 2))
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.02, momentum=0.9)
    values = []
    for iteration in range(60):
        torch.manual_seed(iteration)
        loss = sum(detector(batch).values(), torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert sum(values[-5:]) < 0.5 * sum(values[:5])
