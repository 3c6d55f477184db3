"""Norm layers: groups, empty batches, and SyncBN over workers against BN over the whole batch."""

import dataclasses

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from raystudy.errors import SpecError
from raystudy.models.normalization import (
    BatchNorm2d,
    FrozenBatchNorm2d,
    SyncBatchNorm2d,
    head_norm_factory,
    norm_factory,
)
from raystudy.spec.model import ModelSpec
from tests.models.workers import on_two_workers

SPLITS = {"equal": (2, 2), "unequal": (3, 1), "one empty": (4, 0), "all empty": (0, 0)}


def test_gn_has_32_groups_and_eight_channels_a_group_where_32_does_not_divide() -> None:
    factory = norm_factory(ModelSpec(norm="gn"))
    assert [factory(channels).num_groups for channels in (64, 256, 24, 80)] == [32, 32, 3, 10]
    assert factory(64).eps == 1e-5


def test_a_width_without_groups_is_refused() -> None:
    with pytest.raises(SpecError, match="20 channels"):
        norm_factory(ModelSpec(norm="gn"))(20)


def test_heads_of_a_frozen_bn_model_have_no_norm() -> None:
    spec = ModelSpec(norm="frozen_bn")
    assert isinstance(norm_factory(spec)(8), FrozenBatchNorm2d)
    assert isinstance(head_norm_factory(spec)(8), nn.Identity)


@pytest.mark.parametrize("layer", [BatchNorm2d, SyncBatchNorm2d, FrozenBatchNorm2d])
def test_bn_state_dicts_load_into_every_batch_norm(layer: type[nn.Module]) -> None:
    theirs = nn.BatchNorm2d(4)
    theirs(torch.randn(2, 4, 3, 3))
    ours = layer(4)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("norm", ["gn", "bn", "sync_bn", "frozen_bn"])
def test_an_empty_batch_passes_and_gives_zero_gradients(norm: str) -> None:
    layer = norm_factory(ModelSpec(norm=norm))(32)  # type: ignore[arg-type]
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    layer(torch.zeros(0, 32, 2, 2, requires_grad=True)).sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())


def test_frozen_bn_does_not_change_in_training() -> None:
    layer = FrozenBatchNorm2d(4).train()
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    layer(torch.randn(2, 4, 3, 3))
    assert not list(layer.parameters())
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())


def _network(norm: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm(4), nn.ReLU(), nn.Conv2d(4, 4, 1), norm(4)).double()


def _train(network: nn.Module, images: Tensor, sum_gradients: bool) -> dict[str, Tensor]:
    """Three iterations on a loss that is a sum over pixels, so that workers' gradients add up."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    weight = torch.linspace(-1, 1, 4, dtype=torch.float64)[:, None, None]
    for _ in range(3):
        optimizer.zero_grad()
        (network(images) * weight).sin().sum().backward()
        if sum_gradients:
            for parameter in network.parameters():
                assert parameter.grad is not None
                dist.all_reduce(parameter.grad)
        optimizer.step()
    gradients = {f"{name}.grad": p.grad for name, p in network.named_parameters() if p.grad is not None}
    return {**network.state_dict(), **gradients}


def _images() -> Tensor:
    return torch.randn(4, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def _train_shares(rank: int) -> dict[str, dict[str, Tensor]]:
    results = {}
    for name, split in SPLITS.items():
        own = torch.split(_images()[: sum(split)], list(split))[rank]
        results[name] = _train(_network(SyncBatchNorm2d), own, sum_gradients=True)
    return results


def test_sync_bn_on_two_workers_is_bn_on_one() -> None:
    # Equal, unequal and empty shares of the batch: weights, buffers and gradients in float64.
    ours = on_two_workers(_train_shares)
    for name, split in SPLITS.items():
        expected = _train(_network(BatchNorm2d), _images()[: sum(split)], sum_gradients=False)
        for result in ours:
            assert result[name].keys() == expected.keys()
            for key, value in expected.items():
                torch.testing.assert_close(result[name][key], value, rtol=1e-12, atol=1e-12, msg=f"{name}: {key}")


def test_sync_bn_alone_is_bn() -> None:
    ours = _train(_network(SyncBatchNorm2d), _images(), sum_gradients=False)
    theirs = _train(_network(nn.BatchNorm2d), _images(), sum_gradients=False)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_an_unknown_norm_is_refused_with_the_ones_that_exist() -> None:
    spec = dataclasses.replace(ModelSpec(), norm="layer")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="gn, sync_bn"):
        norm_factory(spec)
