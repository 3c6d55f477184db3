"""Parameter groups, learning rate, and the equality with Detectron's momentum form."""

import copy

import pytest
import torch
from torch import nn

from raystudy.spec.trial import OptimizerSpec
from raystudy.training.optimizer import DenseSGD, build_optimizer, clip_gradient_norm, set_lr


def small_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.GroupNorm(2, 8), nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2)
    )


def names_by_role(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, set[str]]:
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {group["role"]: {names[id(p)] for p in group["params"]} for group in optimizer.param_groups}


def test_each_parameter_is_in_the_group_of_its_role() -> None:
    network = small_network()
    assert names_by_role(network, build_optimizer(network, OptimizerSpec())) == {
        "weight": {"0.weight", "2.weight", "4.weight"},
        "norm": {"1.weight", "3.weight"},
        "bias": {"1.bias", "2.bias", "3.bias", "4.bias"},
    }


def test_groups_have_detectrons_decay_and_rate() -> None:
    optimizer = build_optimizer(small_network(), OptimizerSpec())
    set_lr(optimizer, 0.01)
    settings = {group["role"]: (group["weight_decay"], group["lr"]) for group in optimizer.param_groups}
    assert settings == {"weight": (1e-4, 0.01), "norm": (0.0, 0.01), "bias": (0.0, 0.02)}
    assert all(group["momentum"] == 0.9 and group["fused"] for group in optimizer.param_groups)


def test_frozen_parameters_are_left_out_and_a_frozen_network_is_refused() -> None:
    network = small_network()
    network[0].requires_grad_(False)
    assert "0.weight" not in names_by_role(network, build_optimizer(network, OptimizerSpec()))["weight"]
    with pytest.raises(ValueError, match="frozen"):
        build_optimizer(network.requires_grad_(False), OptimizerSpec())


def test_a_saved_optimizer_keeps_its_factors() -> None:
    network = small_network()
    stored = build_optimizer(network, OptimizerSpec()).state_dict()
    restored = build_optimizer(network, OptimizerSpec())
    restored.load_state_dict(stored)
    set_lr(restored, 1.0)
    assert {group["role"]: group["lr"] for group in restored.param_groups} == {"weight": 1.0, "norm": 1.0, "bias": 2.0}


def test_steps_equal_detectrons_momentum_with_its_correction() -> None:
    # v <- m v + lr g; p <- p - v; v is scaled by new rate / old rate when the rate changes; biases: gradient x 2.
    torch.manual_seed(0)
    network = nn.Linear(3, 2).double()
    optimizer = build_optimizer(network, OptimizerSpec(weight_decay=0.01))
    expected = {name: p.detach().clone() for name, p in network.named_parameters()}
    velocity = {name: torch.zeros_like(p) for name, p in expected.items()}
    last = 0.1
    for lr in (0.1, 0.1, 0.01, 0.01, 0.001):
        x = torch.randn(5, 3, dtype=torch.float64)
        optimizer.zero_grad()
        network(x).square().sum().backward()
        for name, parameter in network.named_parameters():
            gradient = parameter.grad
            assert gradient is not None
            gradient = 2 * gradient if name == "bias" else gradient + 0.01 * expected[name]
            velocity[name] = 0.9 * velocity[name] * (lr / last) + lr * gradient
            expected[name] = expected[name] - velocity[name]
        last = lr
        set_lr(optimizer, lr)
        optimizer.step()
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(parameter.detach(), expected[name], rtol=1e-12, atol=1e-12)


def test_clipping_limits_the_joint_norm_and_tells_the_norm_before() -> None:
    network = nn.Linear(2, 1)
    network(torch.tensor([[300.0, 400.0]])).sum().backward()
    assert float(clip_gradient_norm(network, 5.0)) == pytest.approx((300**2 + 400**2 + 1) ** 0.5)
    gradients = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
    assert float(gradients.norm()) == pytest.approx(5.0, rel=1e-4)


def convolutions() -> nn.Sequential:
    """In channels_last, as the detector is; of sizes that no vector divides."""
    torch.manual_seed(0)
    parts = (nn.Conv2d(3, 17, 3), nn.GroupNorm(1, 17), nn.Conv2d(17, 5, 1), nn.Conv2d(5, 7, (2, 3)), nn.Flatten())
    return nn.Sequential(*parts, nn.Linear(7 * 5 * 4, 3)).to(memory_format=torch.channels_last)


def test_every_bit_is_that_of_torchs_fused_sgd_which_is_given_tensors_as_they_are() -> None:
    ours, theirs = convolutions(), convolutions()
    steps = [
        kind(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2, fused=True)
        for kind, network in ((DenseSGD, ours), (torch.optim.SGD, theirs))
    ]
    x = torch.randn(2, 3, 8, 8)
    for _ in range(3):
        for network, optimizer in zip((ours, theirs), steps, strict=True):
            optimizer.zero_grad()
            network(x).square().mean().backward()
            optimizer.step()
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        kept, expected = steps[0].state[own]["momentum_buffer"], steps[1].state[other]["momentum_buffer"]
        assert torch.equal(own, other)
        assert torch.equal(kept, expected)
        assert (kept.shape, kept.stride()) == (expected.shape, expected.stride())


def test_a_gradient_in_another_layout_than_its_weight_moves_the_right_elements() -> None:
    weight = nn.Parameter(torch.zeros(4, 3, 2, 2).to(memory_format=torch.channels_last))
    gradient = torch.arange(48.0).view(4, 3, 2, 2)
    weight.grad = gradient
    DenseSGD([weight], lr=1.0, momentum=0.9, fused=True).step()
    assert torch.equal(weight.detach(), -gradient)


def test_an_optimizer_goes_on_from_a_saved_one_as_if_never_stopped() -> None:
    x, networks = torch.randn(2, 3, 8, 8), [convolutions(), convolutions()]
    optimizers = [DenseSGD(network.parameters(), lr=0.1, momentum=0.9, fused=True) for network in networks]
    for step in range(4):
        if step == 2:
            networks[1].load_state_dict(networks[0].state_dict())
            optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))  # as from a file
        for network, optimizer in list(zip(networks, optimizers, strict=True))[: 1 if step < 2 else 2]:
            optimizer.zero_grad()
            network(x).square().mean().backward()
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(networks[0].parameters(), networks[1].parameters(), strict=True))


def test_without_momentum_nothing_is_kept() -> None:
    network = nn.Linear(2, 1)
    optimizer = DenseSGD(network.parameters(), lr=0.5, fused=True)
    before = network.weight.detach().clone()
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert torch.equal(network.weight.detach(), before - 0.5)
    assert not optimizer.state
