"""The loop's promise: what a trial computes depends on its spec alone, not on when or how often it was stopped."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import torch

from raystudy.data.batch import Batch
from raystudy.data.loader import TrainLoader, open_split
from raystudy.errors import DivergedError
from raystudy.records import Row, check_rows
from raystudy.spec.plan import Segment, make_plan
from raystudy.spec.trial import TrialSpec
from raystudy.training.loop import train
from raystudy.training.state import TrainState, build_state
from raystudy.training.validation import Validator
from tests.tiny_trials import results, tiny_trial

CPU = torch.device("cpu")


def _segment(trial: TrialSpec) -> Segment:
    (segment,) = make_plan([trial], share=False).segments
    return segment


def _batches(state: TrainState, segment: Segment) -> Iterable[Batch]:
    spec = segment.spec
    return TrainLoader(open_split(spec.data, "train"), spec, 0, 1).batches(state.iteration, segment.end)


def _train(state: TrainState, segment: Segment) -> list[Row]:
    validate = Validator(open_split(segment.spec.data, "val"), segment.spec)
    return list(train(state, segment, _batches(state, segment), validate))


def _weights(state: TrainState) -> dict[str, torch.Tensor]:
    momentum = state.optimizer.state_dict()["state"]
    buffers = {f"momentum.{key}": value["momentum_buffer"] for key, value in momentum.items()}
    return {**{k: v.clone() for k, v in state.model.state_dict().items()}, **buffers}


def _assert_equal_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different


@pytest.fixture(scope="module")
def whole() -> tuple[TrainState, list[Row]]:
    state = build_state(tiny_trial(), None, CPU)
    rows = _train(state, _segment(tiny_trial()))
    return state, rows


def test_rows_fall_on_the_grid_once(whole: tuple[TrainState, list[Row]]) -> None:
    state, rows = whole
    check_rows(rows, start=0, end=8, eval_interval=2, log_interval=2)
    assert state.iteration == 8
    assert state.rows == rows


def test_training_twice_gives_the_same_bits(whole: tuple[TrainState, list[Row]]) -> None:
    state = build_state(tiny_trial(), None, CPU)
    torch.manual_seed(77)  # whatever was drawn before must not matter
    rows = _train(state, _segment(tiny_trial()))
    assert results(rows) == results(whole[1])
    _assert_equal_bits(_weights(state), _weights(whole[0]))


def test_evaluations_in_between_change_no_bit(whole: tuple[TrainState, list[Row]]) -> None:
    state, trial = build_state(tiny_trial(), None, CPU), tiny_trial()
    segment = _segment(trial)
    rows = list(train(state, segment, _batches(state, segment), lambda state: {"loss": 0.0}))
    _assert_equal_bits(_weights(state), _weights(whole[0]))
    assert results([r for r in rows if r.split == "train"]) == results([r for r in whole[1] if r.split == "train"])


@pytest.mark.parametrize("norm", ["gn", "bn"])
def test_resumed_equals_uninterrupted(tmp_path: Path, norm: str) -> None:
    trial = tiny_trial(**{"model.norm": norm})
    segment = _segment(trial)
    undisturbed = build_state(trial, None, CPU)
    rows = _train(undisturbed, segment)
    killed = build_state(trial, None, CPU)
    validate = Validator(open_split(trial.data, "val"), trial)
    for row in train(killed, segment, _batches(killed, segment), validate):
        if row.split == "val" and row.iteration == 4:
            killed.snapshot().save(tmp_path)
            break
    resumed = build_state(trial, None, CPU)
    resumed.load(tmp_path, killed.rows)
    _train(resumed, segment)
    assert results(resumed.rows) == results(rows)
    _assert_equal_bits(_weights(resumed), _weights(undisturbed))


def test_exposure_is_what_the_loader_gave(whole: tuple[TrainState, list[Row]]) -> None:
    trial, (state, rows) = tiny_trial(), whole
    fresh = build_state(trial, None, CPU)
    batches = list(_batches(fresh, _segment(trial)))
    assert rows[-1].images == 16
    assert rows[-1].instances == sum(batch.num_instances for batch in batches)
    assert rows[-1].pixels_measured == sum(batch.num_pixels for batch in batches)
    assert rows[-1].pixels_nominal == 16 * 800 * 1333
    assert state.exposure.images == 16


def test_the_learning_rate_of_the_rows_is_the_schedules(whole: tuple[TrainState, list[Row]]) -> None:
    trial = tiny_trial()
    assert [row.lr for row in whole[1]] == [trial.lr_at(row.iteration - 1) for row in whole[1]]


def test_a_loss_that_is_not_finite_ends_with_the_weights_before_it() -> None:
    trial = tiny_trial()
    segment, state = _segment(trial), build_state(trial, None, CPU)

    def poisoned() -> Iterator[Batch]:
        for number, batch in enumerate(_batches(state, segment)):
            if number == 3:
                with torch.no_grad():
                    next(state.model.box_head.parameters()).fill_(float("nan"))
            yield batch

    rows = train(state, segment, poisoned(), lambda state: {"loss": 0.0})
    seen = [next(rows), next(rows)]
    with pytest.raises(DivergedError, match="iteration 3 is not finite"):
        next(rows)
    assert [row.iteration for row in seen] == [2, 2]
    assert state.iteration == 3


def test_losses_fall_when_a_few_images_are_seen_again_and_again() -> None:
    trial = tiny_trial(total=60, before_end=10, eval_interval=60, log_interval=10)
    segment, state = _segment(trial), build_state(trial, None, CPU)
    rows = list(train(state, segment, _batches(state, segment), lambda state: {"loss": 0.0}))
    losses = [row.loss for row in rows if row.split == "train"]
    assert losses[-1] < 0.8 * losses[0]
