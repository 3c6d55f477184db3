"""Whole studies through Ray: Tune over the plan, nested Ray Train runs of two workers."""

from pathlib import Path

import pytest

from raystudy.api import run
from raystudy.errors import RaystudyError
from raystudy.records import TrialState
from raystudy.spec.plan import make_plan
from raystudy.spec.presets import init_axis, load_preset
from raystudy.spec.study import Axis, Level, StudySpec, with_workers
from raystudy.spec.trial import replaced
from raystudy.store import Store
from tests.cluster.without_ray import FakeRun
from tests.tiny_trials import results, settings, tiny_trial

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def _study(**changes: object) -> StudySpec:
    schedules = {"short": tiny_trial(total=6).schedule, "long": tiny_trial(total=10).schedule}
    levels = tuple(Level(name=name, overrides={"schedule": schedule}) for name, schedule in schedules.items())
    return StudySpec(
        name="tiny",
        base=replaced(tiny_trial(), **changes),
        axes=(init_axis(), Axis(name="schedule", levels=levels)),
        pretraining=load_preset("smoke").pretraining,
    )


def _attempts(store: Store) -> dict[str, int]:
    return {path.name: store.segment(path.name).newest_attempt() for path in (store.scratch / "segments").glob("*")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    storage = tmp_path_factory.mktemp("study") / "s"
    outcome = run(_study(), settings(storage))
    assert outcome.is_complete
    return storage


def test_a_study_is_complete_with_every_row(finished: Path) -> None:
    store, plan = Store.open(finished), make_plan(_study().trials())
    records = [store.read_trial(trial_id) for trial_id in plan.trials]
    assert [record.state for record in records if record] == [TrialState.COMPLETE] * 4
    for record in records:
        assert record is not None
        rows = store.trial_rows(record)  # the ledger has checked that they are exactly once
        assert rows[-1].iteration == record.spec["schedule"]["total"]
        assert rows[-1].images == 2 * rows[-1].iteration
        assert (store.scratch / "segments" / record.segments[-1].segment_id / "matches").is_dir()
    assert store.has_weights(next(iter(plan.pretrainings)))


def test_through_ray_the_bits_are_those_of_a_trial_trained_alone(finished: Path, tmp_path: Path) -> None:
    from raystudy.cluster.worker import run_segment

    store, trial = Store.open(finished), _study().trials()[1]
    plan = make_plan([trial], share=False)
    given = settings(tmp_path / "s")
    run_segment(plan.segments[0], given, FakeRun())
    alone = Store.open(given.storage).segment(plan.segments[0].segment_id).rows()
    record = store.read_trial(trial.trial_id)
    assert record is not None
    assert results(store.trial_rows(record), but=("segment_id",)) == results(alone, but=("segment_id",))


def test_the_same_study_again_trains_nothing(finished: Path) -> None:
    store = Store.open(finished)
    before = _attempts(store)
    assert run(_study(), settings(finished)).is_complete
    assert _attempts(store) == before


def test_a_study_with_one_more_schedule_trains_only_that(finished: Path) -> None:
    longer = Level(name="longer", overrides={"schedule": tiny_trial(total=12).schedule})
    study = _study().with_axis(init_axis(("random",)))
    study = study.with_axis(Axis(name="schedule", levels=(*study.axes[1].levels, longer)))
    store = Store.open(finished)
    before = _attempts(store)
    assert run(study, settings(finished)).is_complete
    after = _attempts(store)
    changed = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    assert sorted("trunk" in name for name in changed) == [False, True]
    assert set(changed.values()) == {1}


def test_a_trial_on_two_workers_carries_the_global_batch_and_takes_what_a_dead_run_held(tmp_path: Path) -> None:
    import ray

    from raystudy.cluster.machines import NESTED_PREFIX, own_job

    leftover = ray.util.placement_group([{"CPU": 1.0}] * 2, name=f"{NESTED_PREFIX}/{own_job()}/{'0' * 32}/1")
    ray.get(leftover.ready())
    study = with_workers(_study(**{"model.norm": "sync_bn"}).with_axis(init_axis(("random",))), 2)
    study = study.with_axis(Axis(name="schedule", levels=study.axes[1].levels[:1]))
    given = settings(tmp_path / "s")
    outcome = run(study, given)
    assert outcome.is_complete
    held = [group for group in ray.util.placement_group_table().values() if group["state"] == "CREATED"]
    assert [group["name"] for group in held if group["name"].startswith(NESTED_PREFIX)] == []  # workers have ended
    (record,) = outcome.records.values()
    rows = Store.open(given.storage).trial_rows(record)
    assert {(row.global_batch, row.workers) for row in rows} == {(2, 2)}
    assert rows[-1].images == 2 * rows[-1].iteration


def test_a_trial_that_can_never_fit_is_refused_with_the_arithmetic(tmp_path: Path) -> None:
    import dataclasses

    given = dataclasses.replace(settings(tmp_path / "s"), threads=3)
    with pytest.raises(RaystudyError, match="needs 3 CPU"):
        run(_study(), given)
