"""A whole study with forks and a kill leaves in W&B exactly the rows of its storage."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raystudy.cluster.tracked_runs import points
from raystudy.cluster.tracking_media import PICTURE_KEYS
from raystudy.cluster.tracking_sync import ended_runs
from raystudy.store import Store
from tests.cluster.test_tracking_media import numbers, shown
from tests.cluster.wandb_standin import KEY, Standin

ROOT = Path(__file__).resolve().parent.parent.parent


def wait_for(condition: Callable[[], bool], driver: "subprocess.Popen[bytes]", seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert driver.poll() is None, "the study ended before the moment of the kill"
        assert time.monotonic() < end, f"nothing after {seconds:g} s"
        time.sleep(0.1)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """For Ray's logs and sockets, whose paths must stay short."""
    folder = Path(tempfile.mkdtemp(prefix="rt", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.ray
def test_a_killed_study_with_forks_leaves_the_rows_of_its_storage_each_once(tmp_path: Path, short_folder: Path) -> None:
    storage, log = tmp_path / "storage", tmp_path / "log"
    ray_folder = short_folder
    with Standin() as server:
        environment = {key: value for key, value in os.environ.items() if key not in ("WANDB_MODE", "WANDB_SERVICE")}
        environment |= {**server.environment, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
        environment["RAY_TMPDIR"] = str(ray_folder)
        command = [sys.executable, str(ROOT / "experiments/schedule_length.py"), "--preset", "smoke"]
        command += ["--inits", "random", "--storage", str(storage), "--wandb", "project"]
        with open(log, "wb") as output:
            driver = subprocess.Popen(
                command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                # A branch has begun: its run holds the trunk's rows, and the trunk may still be training.
                wait_for(lambda: any("branch" not in n and "trunk" not in n for n in list(server.runs)), driver, 180)
            finally:
                os.killpg(driver.pid, signal.SIGKILL)
                driver.wait()
            before = {name: len(run.history) for name, run in server.runs.items()}
            done = subprocess.run(
                command, env=environment, stdout=output, stderr=subprocess.STDOUT, timeout=300, check=False
            )
        assert done.returncode == 0, log.read_text()[-3000:]
        assert sum(before.values()) > 0

        found = {run.run_id: (run, rows) for run, rows, _, _ in ended_runs(Store.open(storage), "schedule_length")}
        assert len(found) == 3, "two trials and their trunk"
        assert set(server.runs) == set(found)
        for run_id, (run, rows) in found.items():
            served = server.runs[run_id]
            assert [point["_step"] for point in served.history] == [point["iteration"] for point in served.history]
            assert numbers(served) == list(points(rows, run)), run_id
            assert len(rows) > len(served.history) > 2, "training rows, and evaluations in the calls of theirs"
            assert served.summary["state"] == "complete"
            if run.is_trial:
                iterations = {iteration for iteration, key in shown(served) if key in PICTURE_KEYS}
                assert {run.end} < iterations, "the pictures of the trunk and those of the end"
                assert len(shown(served)) == len(set(shown(served))) == len(PICTURE_KEYS) * len(iterations) + 1
        assert server.unhandled == []

    written = [path for place in (tmp_path, ray_folder) for path in place.rglob("*") if path.is_file()]
    assert len(written) > 100
    assert any(path.name.startswith("raylet") for path in written), "Ray's own logs are among them"
    assert not [path for path in written if KEY.encode() in path.read_bytes()], "the key is in no file of a study"
