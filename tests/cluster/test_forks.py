"""Cascades switched on and augmented evaluations, through the storage, without Ray: the bits of trials alone."""

from pathlib import Path
from typing import Any

import pytest
import torch

from raystudy.cluster.ledger import last_metrics, pending_segments, read_trial, release_forks, settle
from raystudy.cluster.settings import RunSettings
from raystudy.cluster.tracked_runs import earlier_rows, points, tracked_runs
from raystudy.cluster.worker import run_segment
from raystudy.records import EvalRow, TrialState, check_rows
from raystudy.spec.model import CascadeSpec
from raystudy.spec.plan import Plan, make_plan
from raystudy.spec.trial import TrialSpec
from raystudy.store import Store
from tests.cluster.without_ray import FakeRun, KilledError, flat, last_state, rows_of, run_here
from tests.segment_files import checkpoint_file, folder_of
from tests.tiny_trials import results, settings, tiny_trial

AUGMENTED: dict[str, Any] = {"evaluation.scales": (48, 64), "evaluation.flip": True}
SWITCHED: dict[str, Any] = {"model.cascade": CascadeSpec(final_iterations=4)}
TRIALS = [tiny_trial(8, 2), tiny_trial(8, 2, **SWITCHED), tiny_trial(8, 2, **SWITCHED, **AUGMENTED)]
PLAIN, CASCADE, LOOKED_AT_TWICE = TRIALS


def _state(plan: Plan, trial: TrialSpec, given: RunSettings) -> dict[str, torch.Tensor]:
    """The trial's last weights and momentum."""
    return flat(last_state(plan, trial, given))


def _assert_same(plan: Plan, given: RunSettings, naive: tuple[Plan, RunSettings], trials: list[TrialSpec]) -> None:
    for trial in trials:
        shared, alone = rows_of(plan, trial, given), rows_of(naive[0], trial, naive[1])
        check_rows(shared, start=0, end=trial.schedule.total, eval_interval=2, log_interval=2)
        assert results(shared, but=("segment_id",)) == results(alone, but=("segment_id",))
        one, other = _state(plan, trial, given), _state(naive[0], trial, naive[1])
        assert one.keys() == other.keys()
        assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.fixture(scope="module")
def naive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, RunSettings]:
    plan = make_plan(TRIALS, share=False)
    return plan, run_here(plan, tmp_path_factory.mktemp("naive") / "s")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, RunSettings]:
    plan = make_plan(TRIALS)
    return plan, run_here(plan, tmp_path_factory.mktemp("shared") / "s")


def test_shared_trunks_give_every_trial_the_bits_that_it_has_alone(
    naive: tuple[Plan, RunSettings], shared: tuple[Plan, RunSettings]
) -> None:
    assert (naive[0].shared_iterations, shared[0].shared_iterations) == (24, 12)
    _assert_same(*shared, naive, TRIALS)


def test_a_switch_changes_what_comes_after_it_and_nothing_before(shared: tuple[Plan, RunSettings]) -> None:
    plain, cascade = (results(rows_of(shared[0], trial, shared[1]), but=("segment_id",)) for trial in TRIALS[:2])
    same = [int(one["iteration"]) for one, other in zip(plain, cascade, strict=True) if one == other]
    assert same == [2, 2, 4, 4]
    names = _state(shared[0], CASCADE, shared[1])
    assert any(name.startswith("box_head.stages.2.") for name in names)
    assert not any(name.startswith("box_head.stages.") for name in _state(shared[0], PLAIN, shared[1]))


def test_an_augmented_evaluation_takes_the_place_of_the_last_one_alone(shared: tuple[Plan, RunSettings]) -> None:
    plan, given = shared
    once, twice = rows_of(plan, CASCADE, given), rows_of(plan, LOOKED_AT_TWICE, given)
    assert results(once[:-1]) == results(twice[:-1])
    assert (once[-1].split, twice[-1].split, twice[-1].iteration) == ("val", "val", 8)
    assert once[-1].segment_id != twice[-1].segment_id
    assert (once[-1].images, once[-1].lr) == (twice[-1].images, twice[-1].lr)
    assert once[-1].loss == twice[-1].loss  # of the pictures at the test size, in both
    evaluation = Store.open(given.storage).segment(twice[-1].segment_id)
    assert evaluation.checkpoints() == []
    assert [type(row) for row in evaluation.rows()] == [EvalRow]
    assert (folder_of(evaluation.matches(8), evaluation) / "box.npz").is_file()
    assert read_trial(Store.open(given.storage), plan, LOOKED_AT_TWICE.trial_id).metrics == last_metrics(twice)


def test_a_finished_evaluation_is_not_made_again(shared: tuple[Plan, RunSettings]) -> None:
    plan, given = shared
    run = FakeRun()
    run_segment(plan.segments[-1], given, run)
    assert [report["iteration"] for report in run.reports] == [8]
    assert Store.open(given.storage).segment(plan.segments[-1].segment_id).newest_attempt() == 1
    assert {record.state for record in settle(Store.open(given.storage), plan).values()} == {TrialState.COMPLETE}
    assert pending_segments(Store.open(given.storage), plan) == []


def test_a_tracked_run_of_an_evaluation_shows_the_training_and_then_its_own_row(
    shared: tuple[Plan, RunSettings],
) -> None:
    plan, given = shared
    store, runs = Store.open(given.storage), tracked_runs({"name": "s", "levels": {}}, plan)
    assert sum(len(fed) for fed in runs.values()) == len(TRIALS) + 1  # and the trunk's
    (run,) = runs[plan.segments[-1].segment_id]
    assert run.run_id == LOOKED_AT_TWICE.trial_id
    own = store.segment(run.segment_id).rows()
    shown = list(points([*earlier_rows(store, run, run.segment_id), *own], run))
    assert [point["iteration"] for point in shown] == [2, 4, 6, 8]
    assert shown[-1]["val/loss"] == own[0].loss
    assert {"train/loss", "val/loss"} <= shown[-1].keys()
    only = make_plan([LOOKED_AT_TWICE])
    assert [len(fed) for fed in tracked_runs({"name": "s", "levels": {}}, only).values()] == [1, 1, 1]


def test_a_trial_killed_after_its_switch_goes_on_and_ends_with_the_same_bits(
    naive: tuple[Plan, RunSettings], tmp_path: Path
) -> None:
    plan, given = make_plan([CASCADE, LOOKED_AT_TWICE]), settings(tmp_path / "s")
    trunk, branch, evaluation = plan.segments
    for segment, die_at in ((trunk, 2), (branch, 6), (evaluation, 8)):
        with pytest.raises(KilledError):
            run_segment(segment, given, FakeRun(die_at))
        last = FakeRun()
        run_segment(segment, given, last)
        assert [report["iteration"] for report in last.reports] == [segment.end]  # nothing committed is trained again
    _assert_same(plan, given, naive, [CASCADE, LOOKED_AT_TWICE])


def test_a_switch_whose_checkpoint_is_gone_is_made_again_from_an_older_one(
    naive: tuple[Plan, RunSettings], tmp_path: Path
) -> None:
    plan, given = make_plan([CASCADE, LOOKED_AT_TWICE]), settings(tmp_path / "s")
    trunk, branch, evaluation = plan.segments
    run_segment(trunk, given, FakeRun())
    _tear(given, trunk.segment_id, 4)
    run_segment(branch, given, FakeRun())
    _tear(given, branch.segment_id, 8)
    run_segment(evaluation, given, FakeRun())  # trains the whole trial again, for one row
    naive_rows, rows = (
        rows_of(*one) for one in ((naive[0], LOOKED_AT_TWICE, naive[1]), (plan, LOOKED_AT_TWICE, given))
    )
    assert results(rows, but=("segment_id",)) == results(naive_rows, but=("segment_id",))


def _tear(given: RunSettings, segment_id: str, iteration: int) -> None:
    checkpoint_file(Store.open(given.storage).segment(segment_id), iteration).write_bytes(b"torn")


def test_momentum_goes_on_where_parameters_do_and_starts_from_zero_where_they_are_new() -> None:
    from raystudy.training.state import build_state

    trunk, branch = make_plan([CASCADE]).segments
    state = build_state(trunk.spec, None, torch.device("cpu"))
    for number, parameter in enumerate(state.model.parameters()):
        state.optimizer.state[parameter] = {"momentum_buffer": torch.full_like(parameter, 1.0 + number)}
    before = {name: state.optimizer.state[p]["momentum_buffer"] for name, p in state.model.named_parameters()}
    weights = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    state.switch_model(branch.spec)
    after = {name: state.optimizer.state[p]["momentum_buffer"] for name, p in state.model.named_parameters()}
    kept, new = before.keys() & after.keys(), after.keys() - before.keys()
    assert all(torch.equal(before[name], after[name]) for name in kept)
    assert {name.split(".")[0] for name in new} == {"box_head"}
    assert not any(after[name].any() for name in new)
    now = state.model.state_dict()
    assert all(torch.equal(weights[name], now[name]) for name in kept)
    carried = [name.removeprefix("box_head.") for name in weights if name.startswith("box_head.")]
    for own in (own for own in carried if not own.startswith("box.")):
        assert all(torch.equal(now[f"box_head.stages.{n}.{own}"], weights[f"box_head.{own}"]) for n in range(3))


def test_the_fork_of_an_evaluation_is_kept_until_it_is_done(tmp_path: Path) -> None:
    drops: dict[str, Any] = {"schedule.drops": ()}
    short, long, looked_at = (
        tiny_trial(4, 2, **drops),
        tiny_trial(8, 2, **drops),
        tiny_trial(4, 2, **drops, **AUGMENTED),
    )
    plan, given = make_plan([short, long, looked_at]), settings(tmp_path / "s")
    trunk, evaluation = plan.segments
    store = Store.open(given.storage)
    run_segment(trunk, given, FakeRun())
    release_forks(store, plan)
    assert store.segment(trunk.segment_id).checkpoints() == [4, 8]
    run_segment(evaluation, given, FakeRun())
    release_forks(store, plan)
    assert store.segment(trunk.segment_id).checkpoints() == [8]
    assert plan.most_checkpoints(slots=1) >= 2
