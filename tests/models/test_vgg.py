"""VGG Faster R-CNN: the original, without pyramid and norm; its tiny counterpart."""

import dataclasses
from typing import Literal

import pytest
import torch
from torchvision.models import vgg16, vgg16_bn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import roi_pool

from raystudy.errors import SpecError
from raystudy.models.anchors import grid_anchors
from raystudy.models.backbones import build_backbone
from raystudy.models.detector import Detector, build_detector
from raystudy.models.initialization import initialize
from raystudy.models.roi_pool import RoiPooler
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.model import Backbone, ModelSpec, RpnSpec
from raystudy.spec.presets import load_preset
from raystudy.spec.variants import original_faster_rcnn
from tests.models.synthetic import NUM_CATEGORIES, random_batch, tiny_spec

ORIGINAL = original_faster_rcnn(load_preset("paper"))


def _tiny() -> Detector:
    spec = tiny_spec("tiny_vgg", "none", has_masks=False)
    box_head = dataclasses.replace(spec.box_head, num_convs=0, num_fcs=2, pooling="pool")
    rpn = dataclasses.replace(spec.rpn, anchor_sizes=(16, 32, 64))
    detector = build_detector(
        dataclasses.replace(spec, neck="none", rpn=rpn, box_head=box_head), NUM_CATEGORIES, EvalSpec(score_threshold=0)
    )
    initialize(detector, 0)
    return detector


def test_the_large_one_is_the_original_layer_by_layer() -> None:
    with torch.device("meta"):
        state = build_detector(ORIGINAL, 20, EvalSpec()).state_dict()
        features = {k: v.shape for k, v in vgg16(weights=None).state_dict().items() if k.startswith("features")}
        with_norm = build_backbone(dataclasses.replace(ORIGINAL, norm="bn")).state_dict()
        expected = {k: v.shape for k, v in vgg16_bn(weights=None).state_dict().items() if k.startswith("features")}
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    assert {k.removeprefix("backbone."): v for k, v in shapes.items() if k.startswith("backbone.")} == features
    found = {key: value.shape for key, value in with_norm.items()}
    # torchvision's convolutions have biases before BN, which its means take up.
    assert {key for key in expected if key not in found} == {
        key for key in expected if key.endswith("bias") and len(expected[key[:-4] + "weight"]) == 4
    }
    assert found == {key: expected[key] for key in found}
    assert shapes["rpn.conv.weight"] == (512, 512, 3, 3)
    assert shapes["rpn.objectness.weight"] == (12, 512, 1, 1)
    assert shapes["box_head.fcs.0.weight"] == (4096, 512 * 49)
    assert shapes["box_head.fcs.1.weight"] == (4096, 4096)
    assert not [key for key in shapes if key.startswith("fpn")]


def test_it_computes_what_torchvisions_convolutions_do() -> None:
    theirs = vgg16(weights=None).eval().features[:-1]
    ours = build_backbone(ORIGINAL)
    ours.load_state_dict({f"features.{key}": value for key, value in theirs.state_dict().items()})
    x = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        found = ours(x)
        assert [tuple(one.shape) for one in found] == [(1, 512, 2, 3)]
        torch.testing.assert_close(found[0], theirs(x))


def test_a_cell_has_anchors_of_all_sizes_and_ratios() -> None:
    spec = RpnSpec(anchor_sizes=(32, 64), anchor_style="torchvision")
    ours = grid_anchors(spec, ((3, 4),), (16,), torch.device("cpu"))
    generator = AnchorGenerator(((32, 64),), (spec.anchor_ratios,))
    images = ImageList(torch.zeros(1, 3, 48, 64), [(48, 64)])
    theirs = generator(images, [torch.zeros(1, 1, 3, 4)])[0]
    assert len(ours) == 3 * 4 * 6
    # torchvision counts sizes fastest.
    theirs = theirs.view(12, 3, 2, 4).transpose(1, 2).reshape(-1, 4)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("instances", [(2, 3), (0, 1), (0, 0)])
def test_the_tiny_one_trains_all_of_its_parameters(instances: tuple[int, ...]) -> None:
    detector = _tiny()
    losses = detector(random_batch(instances))
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters())
    with torch.no_grad():
        assert [len(one.boxes) > 0 for one in detector.eval().detect(random_batch((1, 0)))] == [True, True]


def test_pooling_by_the_maximum_is_torchvisions_roi_pool() -> None:
    feature = torch.randn(1, 4, 12, 12)
    boxes = torch.tensor([[[10.0, 20, 120, 150], [0, 0, 30, 30]]])
    pooler = RoiPooler((16,), 7, 2, takes_maximum=True)
    found = pooler([feature], boxes, torch.ones(1, 2, dtype=torch.bool))
    torch.testing.assert_close(found, roi_pool(feature, [boxes[0]], 7, 1 / 16))


@pytest.mark.parametrize(("backbone", "neck"), [("vgg16", "fpn"), ("resnet50", "none"), ("tiny", "none")])
def test_necks_that_a_backbone_does_not_have_are_refused(backbone: Backbone, neck: Literal["fpn", "none"]) -> None:
    spec = dataclasses.replace(ModelSpec(), backbone=backbone, neck=neck)
    with pytest.raises(SpecError, match="does not exist"):
        build_detector(spec, 6, EvalSpec())
