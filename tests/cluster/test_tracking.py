"""Runs in Weights & Biases hold the rows of our storage, each once, whatever happens to the process."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from raystudy.cluster.tracked_runs import TrackedRun, points, tracked_runs
from raystudy.cluster.tracking import TrackingSettings, open_tracker
from raystudy.errors import SpecError
from raystudy.records import EvalRow, Row, TrainRow, TrialState
from raystudy.spec.plan import Plan, make_plan
from raystudy.spec.schedule import Drop, ScheduleSpec
from raystudy.spec.study import Axis, Level, StudySpec
from raystudy.spec.trial import TrialSpec


def schedule(label: str, total: int) -> ScheduleSpec:
    return ScheduleSpec(total=total, drops=(Drop(before_end=10),), warmup_iterations=0, label=label)


def study_record(study: StudySpec) -> dict[str, Any]:
    """What the storage keeps of a study, as far as tracking reads it."""
    plan = make_plan(study.trials())
    return {
        "name": study.name,
        "commit": "abc1234",
        "trials": {trial_id: trial.to_dict() for trial_id, trial in plan.trials.items()},
        "levels": {trial.trial_id: names for names, trial in study.cells()},
        "paths": {trial_id: [dataclasses.asdict(ref) for ref in path] for trial_id, path in plan.paths.items()},
    }


def two_schedules() -> StudySpec:
    """1x drops at 10 and ends at 20, 2x drops at 30 and ends at 40: a trunk of 30 iterations and two branches."""
    base = TrialSpec(schedule=schedule("1x", 20), eval_interval=10, log_interval=5, workers=1)
    axis = Axis(
        name="schedule",
        levels=tuple(Level(name=f"{k}x", overrides={"schedule": schedule(f"{k}x", 20 * k)}) for k in (1, 2)),
    )
    return StudySpec(name="two-schedules", base=base, axes=(axis,))


def study_of_two_schedules() -> tuple[Plan, dict[str, TrackedRun]]:
    """The plan, and the only run that each of its segments feeds."""
    plan = make_plan(two_schedules().trials())
    runs = tracked_runs(study_record(two_schedules()), plan)
    assert all(len(fed) == 1 for fed in runs.values())
    return plan, {node: fed[0] for node, fed in runs.items()}


def rows_of(segment_id: str, iterations: Iterable[int]) -> list[Row]:
    """A training row each iteration, and after it an evaluation row where the iteration is on the grid of 10."""
    rows: list[Row] = []
    for iteration in iterations:
        common: dict[str, Any] = {
            "segment_id": segment_id,
            "iteration": iteration,
            "lr": 0.01,
            "global_batch": 2,
            "workers": 1,
            "wall_time_s": 36.0 * iteration,
            "images": 2 * iteration,
        }
        rows.append(TrainRow(**common, loss=1 / iteration))
        if iteration % 10 == 0:
            rows.append(EvalRow(**common, loss=2 / iteration, box_ap=float(min(iteration, 30)), num_images=9))
    return rows


def branch_of_2x() -> tuple[TrackedRun, list[Row]]:
    """The run of the 2x trial with the rows of its whole curve, trunk first."""
    plan, runs = study_of_two_schedules()
    trial_id = next(trial for trial, spec in plan.trials.items() if spec.schedule.total == 40)
    trunk, own = plan.paths[trial_id]
    return runs[own.segment_id], rows_of(trunk.segment_id, range(5, 31, 5)) + rows_of(own.segment_id, range(35, 41, 5))


def fragments(folder: Path, run: TrackedRun) -> list[Path]:
    return sorted(folder.glob(f"wandb/offline-run-*-{run.run_id}"))


def inspected(fragment: Path, *options: str) -> list[dict[str, Any]]:
    """What wandb's own reader finds in an offline run."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", *options, "--json", str(fragment)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def history(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The logged points without wandb's own columns; its step must be our iteration."""
    items = [record["history"]["item"] for record in records if "history" in record]
    assert [item["_step"] for item in items] == [item["iteration"] for item in items]
    return [{key: value for key, value in item.items() if not key.startswith("_")} for item in items]


def last_summary(records: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for record in records:
        found |= record.get("summary", {}).get("update", {})
    return found


def offline(folder: Path) -> TrackingSettings:
    return TrackingSettings(project="p", offline=True, folder=str(folder))


def test_an_offline_run_holds_every_row_once(tmp_path: Path) -> None:
    run, rows = branch_of_2x()
    tracker = open_tracker(offline(tmp_path), [run])
    for end in (30, 30, 35, 40):  # as commits happen: each time all rows so far
        tracker.log([row for row in rows if row.iteration <= end])
    tracker.finish(TrialState.COMPLETE)

    (fragment,) = fragments(tmp_path, run)
    records = inspected(fragment)
    assert history(records) == list(points(rows, run))
    assert (
        last_summary(records).items()
        >= {
            "final/box_ap": 30.0,
            "best/box_ap": 30.0,
            "best/box_ap_iteration": 30,
            "state": "complete",
            "cost/worker_hours": 36.0 * 40 / 3600,
        }.items()
    )
    metrics = [record["metric"] for record in records if "metric" in record]
    assert {"glob_name": "*", "step_metric": "iteration"}.items() <= {
        key: value for metric in metrics for key, value in metric.items() if key != "options"
    }.items()
    (written,) = [record["run"] for record in records if "run" in record]
    assert (written["run_id"], written["run_group"], written["job_type"]) == (run.run_id, "two-schedules", "trial")
    assert written["tags"] == ["schedule:2x"]
    assert written["config"]["update"]["schedule_total"] == 40
    assert [record["exit"]["exit_code"] for record in records if "exit" in record] == [0]


KILLED = """
import os, signal, sys, time
sys.path[:0] = {path!r}
from pathlib import Path
from tests.cluster.test_tracking import branch_of_2x, offline
from raystudy.cluster.tracking import open_tracker
run, rows = branch_of_2x()
tracker = open_tracker(offline(Path({folder!r})), [run])
tracker.log([row for row in rows if row.iteration <= 35])
time.sleep(1.5)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_and_restarted_run_holds_every_row_once(tmp_path: Path) -> None:
    run, rows = branch_of_2x()
    root = str(Path(__file__).resolve().parent.parent.parent)
    program = KILLED.format(path=[root], folder=str(tmp_path))
    # A process of its own, as a worker is: without the variable by which children share their parent's wandb-core.
    environment = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (fragment,) = fragments(tmp_path, run)
    assert [point["iteration"] for point in history(inspected(fragment))][:6] == list(range(5, 31, 5))

    tracker = open_tracker(offline(tmp_path), [run])
    tracker.log([row for row in rows if row.iteration <= 35])
    tracker.log(rows)
    tracker.finish(TrialState.COMPLETE)
    (fragment,) = fragments(tmp_path, run)
    assert history(inspected(fragment)) == list(points(rows, run))


def test_a_diverged_run_ends_as_failed_with_its_reason(tmp_path: Path) -> None:
    run, rows = branch_of_2x()
    tracker = open_tracker(offline(tmp_path), [run])
    tracker.log(rows[:4])
    tracker.finish(TrialState.DIVERGED, "loss is nan at iteration 17")
    records = inspected(fragments(tmp_path, run)[0])
    assert [record["exit"]["exit_code"] for record in records if "exit" in record] == [1]
    assert last_summary(records).items() >= {"state": "diverged", "error": "loss is nan at iteration 17"}.items()


def test_two_runs_one_after_the_other_in_one_process_stay_apart(tmp_path: Path) -> None:
    _, runs = study_of_two_schedules()
    for segment_id, run in runs.items():
        rows = rows_of(segment_id, [10])
        tracker = open_tracker(offline(tmp_path), [run])
        tracker.log(rows)
        tracker.finish(TrialState.COMPLETE)
        (fragment,) = fragments(tmp_path, run)
        assert history(inspected(fragment)) == list(points(rows, run))


def test_a_run_that_an_exception_left_open_is_taken_up_again_in_the_same_process(tmp_path: Path) -> None:
    run, rows = branch_of_2x()
    open_tracker(offline(tmp_path), [run]).log(rows[:4])  # and never finished
    tracker = open_tracker(offline(tmp_path), [run])
    tracker.log(rows)
    tracker.finish(TrialState.COMPLETE)
    (fragment,) = fragments(tmp_path, run)
    assert history(inspected(fragment)) == list(points(rows, run))


def test_an_error_of_the_tracking_never_reaches_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import wandb

    def broken(**_: Any) -> None:
        raise RuntimeError("no space left on device")

    monkeypatch.setattr(wandb, "init", broken)
    run, rows = branch_of_2x()
    tracker = open_tracker(offline(tmp_path), [run])
    tracker.log(rows)
    tracker.finish(TrialState.COMPLETE)
    assert "no space left on device" in caplog.text
    assert len(caplog.records) == 1


def test_an_unreachable_server_keeps_the_run_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # the discard port: refused at once
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    run, rows = branch_of_2x()
    tracker = open_tracker(TrackingSettings(project="p", folder=str(tmp_path), init_timeout_s=1), [run])
    tracker.log(rows)
    tracker.finish(TrialState.COMPLETE)
    (fragment,) = fragments(tmp_path, run)
    assert history(inspected(fragment)) == list(points(rows, run))


def test_tracking_that_is_off_imports_no_wandb() -> None:
    program = (
        "import sys\n"
        "from raystudy.cluster.tracking import open_tracker\n"
        "from raystudy.records import TrialState\n"
        "tracker = open_tracker(None, [])\n"
        "tracker.log([])\n"
        "tracker.finish(TrialState.COMPLETE)\n"
        "sys.exit('wandb' in sys.modules)"
    )
    root = Path(__file__).resolve().parent.parent.parent
    subprocess.run([sys.executable, "-c", program], cwd=root, check=True)


def test_project_and_entity_come_from_one_word() -> None:
    assert TrackingSettings.parse("detectors") == TrackingSettings(project="detectors")
    assert TrackingSettings.parse("detectors/team") == TrackingSettings(project="detectors", entity="team")
    for wrong in ("", "a b", "a/b/c", "a?b", "/team"):
        with pytest.raises(SpecError, match="PROJECT"):
            TrackingSettings.parse(wrong)


def test_a_missing_key_is_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    settings = TrackingSettings(project="p")
    assert "wandb login" in settings.problems()[0]
    assert TrackingSettings(project="p", offline=True).problems() == []
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password 0\n")
    assert settings.problems() == []
    (tmp_path / "netrc").unlink()
    monkeypatch.setenv("WANDB_API_KEY", "0")
    assert settings.problems() == []
