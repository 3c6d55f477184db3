"""Through the real wandb-core against a server on loopback: rows arrive once each, in spite of kills and outages."""

import dataclasses
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from raystudy.cluster.tracked_runs import TrackedRun, points
from raystudy.cluster.tracking import TrackingSettings, open_tracker
from raystudy.cluster.tracking_wandb import upload
from raystudy.cluster.wandb_service import END_TIMEOUT_S, end_service
from raystudy.errors import TrackingError
from raystudy.records import Row, TrialState
from tests.cluster.test_tracking import branch_of_2x, rows_of, study_of_two_schedules, study_record, two_schedules
from tests.cluster.wandb_standin import KEY, ServedRun, Standin

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    with Standin() as standin:
        standin.use(monkeypatch)
        end_service()  # wandb reads where its server is once a process; each test has its own
        yield standin
        end_service()


def settings(folder: Path, **changes: Any) -> TrackingSettings:
    return TrackingSettings(**{"project": "p", "folder": str(folder), "init_timeout_s": 20, **changes})


def arrived(run: ServedRun) -> list[dict[str, Any]]:
    """The points that the server holds, without wandb's own columns; its step must be our iteration."""
    assert [point["_step"] for point in run.history] == [point["iteration"] for point in run.history]
    return [{key: value for key, value in point.items() if not key.startswith("_")} for point in run.history]


def expected(rows: list[Row], run: TrackedRun) -> list[dict[str, Any]]:
    return list(points(rows, run))


def test_every_point_arrives_once_under_the_right_name(server: Standin, tmp_path: Path) -> None:
    run, rows = branch_of_2x()
    tracker = open_tracker(settings(tmp_path), [run])
    for end in (30, 35, 40):
        tracker.log([row for row in rows if row.iteration <= end])
    tracker.finish(TrialState.COMPLETE)
    served = server.runs[run.run_id]
    assert arrived(served) == expected(rows, run)
    assert (served.project, served.group, served.job_type) == ("p", "two-schedules", "trial")
    assert served.tags == ["schedule:2x"]
    assert served.config["schedule"] == {"value": "2x"}
    assert served.config["schedule_total"] == {"value": 40}
    assert served.summary.items() >= {"best/box_ap": 30, "final/box_ap": 30, "state": "complete"}.items()
    assert (served.is_complete, served.exit_code) == (True, 0)
    assert server.unhandled == []


def test_a_diverged_run_ends_as_failed(server: Standin, tmp_path: Path) -> None:
    run, rows = branch_of_2x()
    tracker = open_tracker(settings(tmp_path), [run])
    tracker.log(rows[:3])
    tracker.finish(TrialState.DIVERGED, "loss is nan")
    served = server.runs[run.run_id]
    assert served.exit_code == 1
    assert served.summary.items() >= {"state": "diverged", "error": "loss is nan"}.items()


KILLED = """
import os, signal, sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.cluster.test_tracking import branch_of_2x
from tests.cluster.test_tracking_online import settings
from raystudy.cluster.tracking import open_tracker
run, rows = branch_of_2x()
tracker = open_tracker(settings(Path({folder!r})), [run])
tracker.log([row for row in rows if row.iteration <= {end}])
time.sleep({wait})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("end", "wait"), [(10, 0.0), (35, 2.0)], ids=["at once", "after a while"])
def test_killed_processes_leave_neither_a_hole_nor_a_double(
    server: Standin, tmp_path: Path, end: int, wait: float
) -> None:
    run, rows = branch_of_2x()
    environment = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}
    for folder in ("first", "second"):  # each on a node of its own
        program = KILLED.format(root=str(ROOT), folder=str(tmp_path / folder), end=end, wait=wait)
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
    tracker = open_tracker(settings(tmp_path / "third"), [run])
    tracker.log(rows)
    tracker.finish(TrialState.COMPLETE)
    assert arrived(server.runs[run.run_id]) == expected(rows, run)
    assert server.unhandled == []


@pytest.mark.parametrize("mode", ["unavailable", "hanging"])
def test_an_outage_in_the_middle_neither_slows_training_nor_loses_a_point(
    server: Standin, tmp_path: Path, mode: Literal["unavailable", "hanging"]
) -> None:
    run = dataclasses.replace(branch_of_2x()[0], end=200)
    rows = rows_of(run.segment_id, range(1, 201))
    tracker = open_tracker(settings(tmp_path), [run])
    tracker.log([row for row in rows if row.iteration <= 40])
    server.break_down(mode)
    durations = []
    for end in range(41, 201):
        committed = [row for row in rows if row.iteration <= end]
        start = time.perf_counter()
        tracker.log(committed)
        durations.append(time.perf_counter() - start)
    assert statistics.median(durations) < 0.005
    server.mend()
    tracker.finish(TrialState.COMPLETE)
    assert arrived(server.runs[run.run_id]) == expected(rows, run)


def test_a_server_that_stays_away_holds_the_end_up_for_its_bound_only_and_gets_the_rest_later(
    server: Standin, tmp_path: Path
) -> None:
    run, rows = branch_of_2x()
    tracker = open_tracker(settings(tmp_path, finish_timeout_s=3), [run])
    tracker.log([row for row in rows if row.iteration <= 20])
    time.sleep(1)
    server.break_down("unavailable")
    tracker.log(rows)
    start = time.perf_counter()
    tracker.finish(TrialState.COMPLETE)
    assert time.perf_counter() - start < 3 + 3
    with pytest.raises(TrackingError, match="later"):
        upload(settings(tmp_path, init_timeout_s=1, finish_timeout_s=1), run, rows, TrialState.COMPLETE)

    server.mend()
    already = len(server.runs[run.run_id].history)
    assert upload(settings(tmp_path), run, rows, TrialState.COMPLETE) == 8 - already
    assert upload(settings(tmp_path), run, rows, TrialState.COMPLETE) == 0
    assert arrived(server.runs[run.run_id]) == expected(rows, run)


@pytest.mark.parametrize("mode", ["unavailable", "hanging"])
def test_a_server_that_is_away_at_the_start_gets_everything_later(
    server: Standin, tmp_path: Path, mode: Literal["unavailable", "hanging"]
) -> None:
    run, rows = branch_of_2x()
    server.break_down(mode)
    start = time.perf_counter()
    tracker = open_tracker(settings(tmp_path, init_timeout_s=2), [run])
    assert time.perf_counter() - start < 2 + END_TIMEOUT_S + 5
    tracker.log(rows)
    tracker.finish(TrialState.COMPLETE)
    server.mend()
    assert upload(settings(tmp_path), run, rows, TrialState.COMPLETE) == 8
    assert arrived(server.runs[run.run_id]) == expected(rows, run)


def test_the_key_is_in_no_file_that_tracking_writes(server: Standin, tmp_path: Path) -> None:
    run, rows = branch_of_2x()
    tracker = open_tracker(settings(tmp_path), [run])
    tracker.log(rows)
    tracker.finish(TrialState.COMPLETE)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    assert not [name for name, content in server.runs[run.run_id].files.items() if KEY.encode() in content]


def test_a_whole_study_with_its_trunk_is_uploaded_from_storage(server: Standin, tmp_path: Path) -> None:
    from raystudy.cluster.tracking_sync import sync_study
    from raystudy.store import Store

    plan, runs = study_of_two_schedules()
    store = Store.open(tmp_path / "storage", create=True)
    store.write_study("two-schedules", study_record(two_schedules()))
    curves: dict[str, list[Row]] = {}
    for segment in plan.segments:
        rows = rows_of(segment.segment_id, range(segment.start + 5, segment.end + 1, 5))
        kept = store.segment(segment.segment_id)
        kept.finish(kept.begin_attempt().number, {"state": "complete", "iteration": segment.end, "error": ""}, rows)
        curves[segment.segment_id] = rows
    sent = dict(sync_study(store, "two-schedules", settings(tmp_path)))
    again = dict(sync_study(store, "two-schedules", settings(tmp_path)))

    assert set(sent) == {run.run_id for run in runs.values()}
    assert set(again.values()) == {0}
    for trial_id, path in plan.paths.items():
        whole = [row for ref in path for row in curves[ref.segment_id] if ref.start < row.iteration <= ref.end]
        assert arrived(server.runs[trial_id]) == expected(whole, runs[path[-1].segment_id])
        assert server.runs[trial_id].summary["state"] == "complete"
    assert server.unhandled == []
