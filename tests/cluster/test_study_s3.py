"""A study on Ray whose only storage is S3: its worker is killed, it ends with the bits of the undisturbed one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raystudy.cli import main
from raystudy.cluster.settings import RunSettings
from raystudy.cluster.worker import run_segment
from raystudy.records import TrialState
from raystudy.spec.plan import make_plan
from raystudy.store import Store
from tests.cluster.s3_study import study
from tests.cluster.test_worker import FakeRun
from tests.segment_files import assert_nothing_committed_is_trained_again
from tests.tiny_trials import results


def _kill_a_worker(store: Store) -> int:
    """The number of the attempt whose process was killed, once it had committed something."""
    segments = make_plan(study().trials()).segments
    until = time.monotonic() + 300
    while time.monotonic() < until:
        for segment in segments:
            kept = store.segment(segment.segment_id)
            if kept.checkpoints() and kept.result() is None:
                attempt = kept.newest_attempt()
                says = store.files.read_json(f"{kept.folder}/attempts/{attempt}.json")
                os.kill(int(says["pid"]), signal.SIGKILL)
                return attempt
        time.sleep(0.05)
    raise AssertionError("nothing was committed")


@pytest.mark.ray
@pytest.mark.chaos
def test_a_study_in_s3_survives_the_death_of_its_worker(
    s3: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(s3, create=True)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "tests.cluster.s3_study", s3]
    driver = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert _kill_a_worker(store) == 1
        _, said = driver.communicate(timeout=500)
    finally:
        driver.kill()
    assert driver.returncode == 0, said[-2000:]
    plan = make_plan(study().trials())
    alone = RunSettings(storage=str(tmp_path / "alone"), study="shared")
    undisturbed = Store.open(alone.storage, create=True)
    for segment in plan.segments:
        run_segment(segment, alone, FakeRun())
    assert max(store.segment(segment.segment_id).newest_attempt() for segment in plan.segments) == 2
    assert_nothing_committed_is_trained_again(store)
    for trial_id in plan.trials:
        record = store.read_trial(trial_id)
        assert record is not None
        assert record.state == TrialState.COMPLETE
        assert results(store.trial_rows(record)) == results(undisturbed.trial_rows(record))
    assert store.files.names("drivers") == [], "the driver has given its leases back"
    assert main(["status", s3]) == 0
    assert capsys.readouterr().out.count("complete") == 2
    assert main(["report", s3]) == 0
    assert b"</html>" in (store.files.read("reports/shared/report.html") or b"")
