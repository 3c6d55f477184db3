"""Backbones: shapes, names as torchvision's, norms, freezing."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet50, resnet101

from raystudy.errors import SpecError
from raystudy.models.backbones import build_backbone
from raystudy.spec.model import Backbone, ModelSpec, Norm
from tests.models.synthetic import tiny_spec

TINY: tuple[Backbone, ...] = ("tiny", "tiny_deep", "tiny_grouped", "tiny_vgg")
NORM_LAYERS = (nn.GroupNorm, nn.BatchNorm2d)


@pytest.mark.parametrize("norm", ["gn", "sync_bn", "bn", "frozen_bn", "none"])
@pytest.mark.parametrize("backbone", TINY)
def test_every_tiny_backbone_runs_forward_and_backward_with_every_norm(backbone: Backbone, norm: Norm) -> None:
    network = build_backbone(tiny_spec(backbone, norm))
    maps = network(torch.randn(2, 3, 64, 96))
    shapes = [tuple(feature.shape) for feature in maps]
    assert shapes == [
        (2, width, 64 // stride, 96 // stride)
        for width, stride in zip(network.out_channels, (4, 8, 16, 32), strict=True)
    ]
    sum(feature.sum() for feature in maps).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(("name", "theirs"), [("resnet50", resnet50), ("resnet101", resnet101)])
def test_names_and_shapes_are_torchvisions(name: Backbone, theirs: type[nn.Module]) -> None:
    with torch.device("meta"):
        ours = build_backbone(ModelSpec(backbone=name, norm="bn")).state_dict()
        expected = theirs(weights=None).state_dict()
    classifier = {"fc.weight", "fc.bias"}
    assert {key: value.shape for key, value in ours.items()} == {
        key: value.shape for key, value in expected.items() if key not in classifier
    }


def test_resnet50_computes_what_torchvisions_does() -> None:
    # Torchvision's V1.5: the stride is in the 3x3, as here.
    torch.manual_seed(0)
    theirs = resnet50(weights=None).eval()
    ours = build_backbone(ModelSpec(backbone="resnet50", norm="bn")).eval()
    ours.load_state_dict(theirs.state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        pooled = ours(x)[-1].mean((2, 3))
        torch.testing.assert_close(theirs.fc(pooled), theirs(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backbone", [*TINY, "resnet50", "resnet101", "resnext152_8x32d", "resnext152_32x8d"])
def test_a_norm_follows_every_convolution_and_a_bias_replaces_it(backbone: Backbone) -> None:
    with torch.device("meta"):
        normed = build_backbone(ModelSpec(backbone=backbone, norm="gn"))
        bare = build_backbone(ModelSpec(backbone=backbone, norm="none"))
    convs = [module for module in normed.modules() if isinstance(module, nn.Conv2d)]
    assert sum(isinstance(module, NORM_LAYERS) for module in normed.modules()) == len(convs)
    assert all(conv.bias is None for conv in convs)
    assert all(conv.bias is not None for conv in bare.modules() if isinstance(conv, nn.Conv2d))


def test_nothing_is_frozen_unless_the_spec_says_so() -> None:
    assert all(parameter.requires_grad for parameter in build_backbone(tiny_spec()).parameters())


def test_frozen_stages_keep_parameters_and_statistics() -> None:
    spec = ModelSpec(backbone="tiny", norm="bn", freeze_stages=2)
    network = build_backbone(spec).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network(torch.randn(2, 3, 64, 64))
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert changed
    assert not [key for key in changed if key.startswith(("conv1", "bn1", "layer1"))]
    trained = {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained == {"layer2", "layer3", "layer4"}


def test_more_frozen_stages_than_there_are_is_refused() -> None:
    with pytest.raises(SpecError, match="freeze_stages is 6"):
        build_backbone(ModelSpec(backbone="tiny", freeze_stages=6))
