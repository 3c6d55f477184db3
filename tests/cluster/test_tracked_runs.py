"""What W&B is told of a study follows from its plan and its rows: which runs, which points, which summary."""

import dataclasses
import json
import math
from pathlib import Path

from raystudy.cluster.tracked_runs import (
    TrackedRun,
    earlier_rows,
    points,
    pretraining_summary,
    summary,
    tracked_runs,
)
from raystudy.spec.plan import make_plan
from raystudy.spec.presets import init_axis, load_preset
from raystudy.spec.study import StudySpec
from raystudy.store import Store
from tests.cluster.test_tracking import branch_of_2x, rows_of, study_of_two_schedules, study_record, two_schedules


def test_rows_of_one_iteration_become_one_point() -> None:
    run, rows = branch_of_2x()
    found = list(points(rows, run))
    assert [point["iteration"] for point in found] == list(range(5, 41, 5))
    assert found[1]["train/loss"] == 1 / 10
    assert found[1]["val/loss"] == 2 / 10
    assert found[1]["val/box_ap"] == 10
    assert found[1]["exposure/images"] == 20
    assert "val/loss" not in found[0], "no evaluation at 5"
    assert not any(isinstance(value, float) and math.isnan(value) for point in found for value in point.values())


def test_the_trunks_part_of_a_trial_is_marked() -> None:
    run, rows = branch_of_2x()
    assert [point["in_trunk"] for point in points(rows, run)] == [1, 1, 1, 1, 1, 1, 0, 0]


def test_every_segment_feeds_one_run_and_every_trial_has_one() -> None:
    plan, runs = study_of_two_schedules()
    assert set(runs) == {segment.segment_id for segment in plan.segments}
    assert {run.run_id for run in runs.values() if run.job_type == "trial"} == set(plan.trials)
    (trunk,) = [run for run in runs.values() if run.job_type == "trunk"]
    assert trunk.tags == (), "its trials differ in the only axis"
    assert not any(key.startswith("schedule") for key in trunk.config)
    for run in runs.values():
        assert run.group == "two-schedules"
        assert TrackedRun.from_dict(json.loads(json.dumps(run.to_dict()))) == run
        if run.job_type == "trial":
            trial = plan.trials[run.run_id]
            assert run.tags == (f"schedule:{trial.schedule.name}",)
            assert run.config["schedule"] == trial.schedule.name
            assert run.config["schedule_total"] == trial.schedule.total
            assert run.config["model_norm"] == trial.model.norm


def test_the_rows_before_the_fork_are_read_from_the_trunk(tmp_path: Path) -> None:
    plan, runs = study_of_two_schedules()
    store = Store.open(tmp_path / "storage", create=True)
    trial_id = next(trial for trial, spec in plan.trials.items() if spec.schedule.total == 20)
    trunk, own = plan.paths[trial_id]
    kept = store.segment(trunk.segment_id)
    rows = rows_of(trunk.segment_id, range(5, 31, 5))
    kept.finish(kept.begin_attempt().number, {"state": "complete", "iteration": 30}, rows)
    found = earlier_rows(store, runs[own.segment_id], own.segment_id)
    assert [repr(row) for row in found] == [repr(row) for row in rows if row.iteration <= 10]  # nan is not nan


def test_the_summary_finds_the_best_evaluation() -> None:
    run, rows = branch_of_2x()
    worse = [row for row in rows if row.iteration <= 20]
    assert summary(worse, run)["best/box_ap"] == 20
    assert "best/mask_ap" not in summary(rows, run), "not measured"


def test_trials_of_a_search_have_a_job_type_of_their_own_and_whole_curves() -> None:
    plan = make_plan(two_schedules().trials())
    found = [run for fed in tracked_runs(study_record(two_schedules()), plan, "search").values() for run in fed]
    assert sorted(run.job_type for run in found) == ["search", "search", "trunk"]
    (run, rows) = branch_of_2x()
    as_search = dataclasses.replace(run, job_type="search")
    assert list(points(rows, as_search)) == list(points(rows, run))


def test_a_pretraining_has_a_run_with_its_recipe_and_what_came_of_it() -> None:
    preset = load_preset("smoke")
    study = StudySpec(name="inits", base=preset.base, axes=(init_axis(),), pretraining=preset.pretraining)
    plan = make_plan(study.trials())
    (weights_id,) = plan.pretrainings
    (run,) = tracked_runs(study_record(study), plan)[weights_id]
    assert (run.run_id, run.job_type, run.group) == (weights_id, "pretrain", "inits")
    assert run.config["iterations"] == plan.pretrainings[weights_id].iterations
    provenance = {"top1": 0.5, "images": 640, "instances": 640, "wall_time_s": 7200.0, "workers": 2, "sha256": "0"}
    on_gpu = dataclasses.replace(run, config={**run.config, "device": "cuda"})
    found = pretraining_summary(provenance, on_gpu)
    assert (found["top1"], found["exposure/images"], found["cost/gpu_hours"]) == (0.5, 640, 4.0)
    assert "cost/gpu_hours" not in pretraining_summary(provenance, run), "nobody has told the device"


def test_only_the_segment_that_is_a_runs_own_costs_it_something() -> None:
    run, rows = branch_of_2x()
    in_trunk = dataclasses.replace(run, segment_id="")
    assert summary(rows, run)["cost/worker_hours"] > 0
    assert not [name for name in summary(rows, in_trunk) if name.startswith("cost/")]
    assert summary(rows, in_trunk)["final/box_ap"] == summary(rows, run)["final/box_ap"]
