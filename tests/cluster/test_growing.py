"""A cluster whose autoscaler starts machines when a study asks, and ends them when it is done; several machines."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from raystudy.cluster.ledger import read_trial
from raystudy.spec.plan import make_plan
from raystudy.store import Store
from tests.cluster.autoscaled import autoscaled_cluster
from tests.cluster.growing_study import study
from tests.cluster.without_ray import FakeRun
from tests.models.workers import on_two_workers
from tests.tiny_trials import results, settings

pytestmark = [pytest.mark.ray, pytest.mark.chaos]

ROOT = Path(__file__).resolve().parents[2]


def _alone(folder: str, rank: int) -> dict[str, int]:
    from raystudy.cluster.worker import run_segment

    (segment,) = make_plan(study().trials()).segments
    run_segment(segment, settings(Path(folder)), FakeRun())
    return {"rank": rank}


def test_a_cluster_grows_from_nothing_for_a_trial_that_no_machine_holds_alone_and_is_let_go(tmp_path: Path) -> None:
    with autoscaled_cluster(cpus=1, machines=2) as address:
        environment = {**os.environ, "RAY_ADDRESS": address, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-m", "tests.cluster.growing_study", str(tmp_path / "grown")],
            env=environment, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == {"first": 0, "most": 2, "spread": 2, "left": 0, "is_complete": True}
    on_two_workers(partial(_alone, str(tmp_path / "alone")))
    plan = make_plan(study().trials())
    grown, alone = (
        results(store.trial_rows(read_trial(store, plan, next(iter(plan.trials)))))
        for store in (Store.open(tmp_path / "grown"), Store.open(tmp_path / "alone"))
    )
    assert grown == alone
