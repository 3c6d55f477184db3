"""What a spec may switch for speed: bf16 and compiled parts leave a detector what it is."""

import pytest
import torch

from raystudy.data.batch import Batch
from raystudy.data.loader import TrainLoader, open_split
from raystudy.spec.plan import make_plan
from raystudy.spec.trial import TrialSpec
from raystudy.training import state as state_module
from raystudy.training.loop import autocast, train
from raystudy.training.state import TrainState, build_state
from tests.tiny_trials import tiny_trial

CPU = torch.device("cpu")


def _batch(spec: TrialSpec) -> Batch:
    return TrainLoader(open_split(spec.data, "train"), spec, 0, 1).batch(0)


def _losses(state: TrainState, spec: TrialSpec, batch: Batch) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    with autocast(spec, CPU):
        losses: dict[str, torch.Tensor] = state.network(batch)
    return losses


def test_bf16_gives_nearly_the_losses_of_fp32_in_float32() -> None:
    spec = tiny_trial()
    batch = _batch(spec)
    plain, reduced = (_losses(build_state(one, None, CPU), one, batch) for one in (spec, tiny_trial(precision="bf16")))
    assert all(loss.dtype == torch.float32 for loss in reduced.values())
    assert [loss.item() for loss in reduced.values()] != [loss.item() for loss in plain.values()]
    for name, loss in plain.items():  # the heads see other boxes, since proposals of other scores are drawn
        nearly = 0.05 if name.startswith("loss_rpn") else 0.5
        assert reduced[name].item() == pytest.approx(loss.item(), rel=nearly), name


def test_a_trial_trains_in_bf16_with_float32_weights() -> None:
    spec = tiny_trial(total=2, before_end=1, precision="bf16")
    (segment,) = make_plan([spec]).segments
    state = build_state(spec, None, CPU)
    loader = TrainLoader(open_split(spec.data, "train"), spec, 0, 1)
    rows = list(train(state, segment, loader.batches(0, 2), lambda _: {"loss": 1.0}))
    assert [row.iteration for row in rows] == [2, 2]
    assert all(parameter.dtype == torch.float32 for parameter in state.model.parameters())
    assert all(bool(parameter.isfinite().all()) for parameter in state.model.parameters())


def test_compiled_parts_keep_names_losses_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "COMPILER", "eager")
    spec = tiny_trial()
    batch = _batch(spec)
    states = [build_state(one, None, CPU) for one in (spec, tiny_trial(compiled=True))]
    assert list(states[0].model.state_dict()) == list(states[1].model.state_dict())
    gradients = []
    for state in states:
        losses = _losses(state, spec, batch)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        gradients.append(
            [sum(loss.item() for loss in losses.values()), state.model.backbone.get_parameter("conv1.weight").grad]
        )
    assert gradients[0][0] == pytest.approx(gradients[1][0], rel=1e-5)
    torch.testing.assert_close(gradients[0][1], gradients[1][1], rtol=1e-4, atol=1e-6)
    assert states[1].model.backbone._compiled_call_impl is not None
    assert states[0].model.backbone._compiled_call_impl is None
