"""Random init: deterministic, independent of the rest of the network, distributed as the recipe says."""

import math

import torch
from torch import nn

from raystudy.models.backbones import build_backbone
from raystudy.models.detector import build_detector
from raystudy.models.initialization import initialize, initialize_backbone
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.model import BoxHeadSpec, MaskHeadSpec, ModelSpec
from tests.models.synthetic import tiny_spec


def _state(spec: ModelSpec, seed: int = 0) -> dict[str, torch.Tensor]:
    detector = build_detector(spec, 6, EvalSpec())
    initialize(detector, seed)
    return detector.state_dict()


def test_the_seed_decides_every_number_and_torchs_own_generator_none() -> None:
    torch.manual_seed(1)
    first = _state(tiny_spec())
    torch.manual_seed(2)
    second, other = _state(tiny_spec()), _state(tiny_spec(), seed=1)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first if first[key].ndim > 1)


def test_a_layers_numbers_do_not_depend_on_the_other_layers() -> None:
    full, without_masks = _state(tiny_spec()), _state(tiny_spec(has_masks=False))
    assert all(torch.equal(value, full[key]) for key, value in without_masks.items())
    with_bn = _state(tiny_spec(norm="bn"))
    assert all(torch.equal(value, with_bn[key]) for key, value in full.items() if key in with_bn)


def test_a_backbone_alone_gets_the_numbers_that_it_has_in_a_detector() -> None:
    backbone = build_backbone(tiny_spec())
    initialize_backbone(backbone, 0)
    full = _state(tiny_spec())
    assert all(torch.equal(value, full[f"backbone.{key}"]) for key, value in backbone.state_dict().items())


def test_norms_start_as_the_identity_also_at_the_end_of_a_block() -> None:
    detector = build_detector(tiny_spec("tiny_grouped", "bn"), 6, EvalSpec())
    for parameter in detector.parameters():
        nn.init.constant_(parameter, 7.0)
    initialize(detector, 0)
    norms = [module for module in detector.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all((norm.weight == 1).all() and not norm.bias.any() for norm in norms)


def test_spreads_are_those_of_the_recipe() -> None:
    spec = ModelSpec(
        backbone="tiny", box_head=BoxHeadSpec(fc_channels=256, num_convs=1), mask_head=MaskHeadSpec(num_convs=1)
    )
    state = _state(spec)
    expected = {
        "backbone.layer4.0.conv2.weight": math.sqrt(2 / (192 * 9)),
        "fpn.output.0.0.weight": math.sqrt(1 / (256 * 9)),
        "rpn.conv.weight": 0.01,
        "rpn.objectness.weight": 0.01,
        "box_head.convs.0.0.weight": math.sqrt(2 / (256 * 9)),
        "box_head.fcs.0.weight": math.sqrt(1 / (256 * 49)),
        "box_head.category.weight": 0.01,
        "box_head.box.weight": 0.001,
        "mask_head.convs.0.0.weight": math.sqrt(2 / (256 * 9)),
    }
    for name, std in expected.items():
        assert math.isclose(state[name].std().item(), std, rel_tol=0.06), name
    assert not any(value.any() for name, value in state.items() if name.endswith("bias"))
