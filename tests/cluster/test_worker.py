"""Segments through the storage, without Ray: killed, resumed, forked, extended, diverged."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from raystudy.cluster.ledger import pending_segments, read_trial, settle
from raystudy.cluster.settings import RunSettings
from raystudy.cluster.worker import run_segment
from raystudy.records import TrialState, check_rows
from raystudy.spec.plan import Plan, make_plan
from raystudy.store import Store
from tests.cluster.without_ray import FakeRun, KilledError, flat, last_state, rows_of, run_here
from tests.segment_files import checkpoint_file
from tests.tiny_trials import results, settings, tiny_trial

TRIALS = [tiny_trial(total=6), tiny_trial(total=10)]  # fork at 2 and at 6


@pytest.fixture(scope="module")
def naive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, RunSettings]:
    plan = make_plan(TRIALS, share=False)
    return plan, run_here(plan, tmp_path_factory.mktemp("naive") / "s")


def test_shared_trunks_give_every_trial_the_bits_that_it_has_alone(
    naive: tuple[Plan, RunSettings], tmp_path: Path
) -> None:
    plan = make_plan(TRIALS)
    given = run_here(plan, tmp_path / "s")
    assert plan.shared_iterations == 14
    for trial in TRIALS:
        shared, alone = rows_of(plan, trial, given), rows_of(naive[0], trial, naive[1])
        check_rows(shared, start=0, end=trial.schedule.total, eval_interval=2, log_interval=2)
        assert results(shared, but=("segment_id",)) == results(alone, but=("segment_id",))
        one, other = flat(last_state(plan, trial, given)), flat(last_state(naive[0], trial, naive[1]))
        assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_a_killed_segment_goes_on_and_ends_with_the_same_bits(naive: tuple[Plan, RunSettings], tmp_path: Path) -> None:
    plan, given = make_plan(TRIALS, share=False), settings(tmp_path / "s")
    segment = plan.segments[1]
    for die_at in (2, 6):
        with pytest.raises(KilledError):
            run_segment(segment, given, FakeRun(die_at))
    assert Store.open(given.storage).segment(segment.segment_id).result() is None
    last = FakeRun()
    run_segment(segment, given, last)
    assert [report["iteration"] for report in last.reports] == [8, 10]  # nothing committed is trained again
    assert results(rows_of(plan, TRIALS[1], given)) == results(rows_of(naive[0], TRIALS[1], naive[1]))


def test_the_end_of_a_trial_keeps_the_same_pictures_for_every_trial(naive: tuple[Plan, RunSettings]) -> None:
    plan, given = naive
    store = Store.open(given.storage)
    found = [store.segment(segment.segment_id).examples(segment.end) for segment in plan.segments]
    folders = [store.files.fetch(place) for place in found if place is not None]
    kept = [(folder, json.loads((folder / "examples.json").read_text())) for folder in folders]
    assert len(kept) == len(TRIALS)
    assert len({tuple(picture["image_id"] for picture in content["pictures"]) for _, content in kept}) == 1
    for folder, content in kept:
        assert all((folder / picture["file"]).is_file() and picture["objects"] for picture in content["pictures"])
    assert store.segment(plan.segments[1].segment_id).examples(6) is None  # no trial ends there


def test_a_finished_segment_reports_its_last_row_and_trains_nothing(naive: tuple[Plan, RunSettings]) -> None:
    plan, given = naive
    run = FakeRun()
    run_segment(plan.segments[0], given, run)
    assert [report["iteration"] for report in run.reports] == [6]
    assert Store.open(given.storage).segment(plan.segments[0].segment_id).newest_attempt() == 1


def test_a_corrupt_checkpoint_costs_its_iterations_and_nothing_else(
    naive: tuple[Plan, RunSettings], tmp_path: Path
) -> None:
    plan, given = make_plan(TRIALS, share=False), settings(tmp_path / "s")
    segment = plan.segments[1]
    with pytest.raises(KilledError):
        run_segment(segment, given, FakeRun(6))
    kept = Store.open(given.storage).segment(segment.segment_id)
    checkpoint_file(kept, 6).write_bytes(b"torn")
    run_segment(segment, given, FakeRun())
    assert results(rows_of(plan, TRIALS[1], given)) == results(rows_of(naive[0], TRIALS[1], naive[1]))


def test_a_branch_whose_fork_checkpoint_is_gone_starts_from_the_one_before(
    naive: tuple[Plan, RunSettings], tmp_path: Path
) -> None:
    plan, given = make_plan(TRIALS), settings(tmp_path / "s")
    trunk, *branches = plan.segments
    run_segment(trunk, given, FakeRun())
    kept = Store.open(given.storage).segment(trunk.segment_id)
    checkpoint_file(kept, 6).write_bytes(b"torn")
    for branch in branches:
        run_segment(branch, given, FakeRun())
    for trial in TRIALS:
        shared, alone = rows_of(plan, trial, given), rows_of(naive[0], trial, naive[1])
        assert results(shared, but=("segment_id",)) == results(alone, but=("segment_id",))


def test_a_longer_study_extends_the_trunk_of_a_shorter_one(naive: tuple[Plan, RunSettings], tmp_path: Path) -> None:
    short = make_plan([tiny_trial(total=6), tiny_trial(total=8)])
    given = run_here(short, tmp_path / "s")
    store = Store.open(given.storage)
    settle(store, short)
    longer = make_plan([*short.trials.values(), TRIALS[1]])
    pending = pending_segments(store, longer)
    assert [(segment.kind, segment.end) for segment in pending] == [("trunk", 6), ("branch", 10)]
    reports = []
    for segment in pending:
        run = FakeRun()
        run_segment(segment, given, run)
        reports += [report["iteration"] for report in run.reports]
    assert reports == [6, 8, 10]
    shared, alone = rows_of(longer, TRIALS[1], given), rows_of(naive[0], TRIALS[1], naive[1])
    assert results(shared, but=("segment_id",)) == results(alone, but=("segment_id",))


def test_disk_use_stays_below_what_the_plan_says_and_shrinks_when_forks_are_taken(tmp_path: Path) -> None:
    from raystudy.cluster.ledger import release_forks
    from raystudy.models.size import state_bytes

    plan, given = make_plan(TRIALS), settings(tmp_path / "s")
    store, counts = Store.open(given.storage), []

    class Counting(FakeRun):
        def report(self, progress: dict[str, Any]) -> None:
            counts.append(len(list((store.scratch / "segments").glob("*/checkpoints/[0-9]*"))))

    for segment in plan.segments:
        run_segment(segment, given, Counting())
        release_forks(store, plan)
    assert max(counts) <= plan.most_checkpoints(slots=1)
    kept = {path.name: store.segment(path.name).checkpoints() for path in (store.scratch / "segments").iterdir()}
    assert sorted(kept.values()) == [[6], [6], [10]]  # each its last: the forks at 2 and 6 are taken over
    size = state_bytes(TRIALS[0].model, TRIALS[0].data.num_categories)
    for state in (store.scratch / "segments").glob("*/checkpoints/*/state.pt"):
        assert 0.95 * size < state.stat().st_size < 1.1 * size


def test_garbage_is_what_no_study_needs(tmp_path: Path) -> None:
    from raystudy.api import study_record
    from raystudy.cluster.garbage import collect_garbage
    from raystudy.spec.study import StudySpec

    study = StudySpec(name="kept", base=TRIALS[0])
    plan, given = make_plan(study.trials()), settings(tmp_path / "s")
    store = Store.open(given.storage)
    store.write_study("kept", study_record(study, plan))
    stray = make_plan([tiny_trial(total=6, seed=9)])
    for segment in (*plan.segments, *stray.segments):
        run_segment(segment, given, FakeRun())
    (unneeded,) = (segment.segment_id for segment in stray.segments)
    found = collect_garbage(store, dry_run=True)
    assert found.segments == (unneeded,)
    assert found.freed_bytes > 0
    assert collect_garbage(store).segments == (unneeded,)
    assert [path.name for path in (store.scratch / "segments").iterdir()] == [plan.segments[0].segment_id]
    assert read_trial(store, plan, TRIALS[0].trial_id).state == TrialState.COMPLETE
    assert collect_garbage(store).segments == ()


def test_the_ledger_tells_waiting_running_and_complete(tmp_path: Path) -> None:
    plan, given = make_plan(TRIALS), settings(tmp_path / "s")
    store = Store.open(given.storage)
    short, long = (trial.trial_id for trial in TRIALS)
    assert read_trial(store, plan, short).state == TrialState.WAITING
    trunk, branch, _ = plan.segments
    with pytest.raises(KilledError):
        run_segment(trunk, given, FakeRun(4))
    assert (read_trial(store, plan, long).state, read_trial(store, plan, long).iteration) == (TrialState.RUNNING, 4)
    run_segment(trunk, given, FakeRun())
    run_segment(branch, given, FakeRun())
    records = settle(store, plan)
    assert (records[short].state, records[long].state) == (TrialState.COMPLETE, TrialState.WAITING)
    assert records[short].metrics.keys() >= {"box_ap", "mask_ap"}
    assert store.read_trial(short) == records[short]
    assert [segment.segment_id for segment in pending_segments(store, plan)] == [plan.segments[2].segment_id]


def test_divergence_is_kept_as_a_result_and_only_later_branches_fall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raystudy.errors import DivergedError
    from raystudy.training import loop

    plan, given = make_plan(TRIALS), settings(tmp_path / "s")
    real = loop._forward_backward

    def diverges(state: Any, batch: Any, spec: Any) -> Any:
        if state.iteration == 5:
            raise DivergedError("the loss of iteration 5 is not finite")
        return real(state, batch, spec)

    monkeypatch.setattr(loop, "_forward_backward", diverges)
    trunk, short_branch, _ = plan.segments
    run_segment(trunk, given, FakeRun())
    monkeypatch.setattr(loop, "_forward_backward", real)
    run_segment(short_branch, given, FakeRun())
    store = Store.open(given.storage)
    records = settle(store, plan)
    short, long = (records[trial.trial_id] for trial in TRIALS)
    assert short.state == TrialState.COMPLETE
    assert long.state == TrialState.DIVERGED
    assert "its trunk" in long.error
    assert "iteration 5 is not finite" in long.error
    assert store.segment(trunk.segment_id).rows()[-1].iteration == 4


def test_an_accelerator_out_of_memory_names_batch_and_size_and_is_not_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raystudy.training import loop

    plan, given = make_plan(TRIALS[:1]), settings(tmp_path / "s")

    def runs_out(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loop, "_forward_backward", runs_out)
    run_segment(plan.segments[0], given, FakeRun())  # does not raise: Tune must not try again
    record = settle(Store.open(given.storage), plan)[TRIALS[0].trial_id]
    assert record.state == TrialState.FAILED
    assert "no memory for 2 images of 64 x 64 pixels" in record.error
