"""A cluster whose autoscaler starts machines when a study asks, and ends them when it is done; several machines."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from raystudy.cluster.ledger import read_trial
from raystudy.spec.plan import make_plan
from raystudy.store import Store
from tests.cluster.autoscaled import autoscaled_cluster
from tests.cluster.growing_study import LONG, study
from tests.cluster.without_ray import FakeRun
from tests.models.workers import on_two_workers
from tests.segment_files import checkpoint_file
from tests.tiny_trials import results, settings

pytestmark = [pytest.mark.ray, pytest.mark.chaos]

ROOT = Path(__file__).resolve().parents[2]


def _alone(folder: str, total: int, rank: int) -> dict[str, int]:
    from raystudy.cluster.worker import run_segment

    (segment,) = make_plan(study(total).trials()).segments
    run_segment(segment, settings(Path(folder)), FakeRun())
    return {"rank": rank}


def _assert_as_alone(storage: Path, folder: Path, total: int) -> None:
    on_two_workers(partial(_alone, str(folder), total))
    plan = make_plan(study(total).trials())
    (trial_id,), (segment,) = plan.trials, plan.segments
    one, two = Store.open(storage), Store.open(folder)
    assert results(one.trial_rows(read_trial(one, plan, trial_id))) == results(
        two.trial_rows(read_trial(two, plan, trial_id))
    )
    weights, others = (
        torch.load(checkpoint_file(store.segment(segment.segment_id), total), weights_only=True)["model"]
        for store in (one, two)
    )
    assert [name for name in weights if not torch.equal(weights[name], others[name])] == []


def _told(arguments: list[str], **environment: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster.growing_study", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # Ray may print lines of its own after it.
    last = [line for line in done.stdout.splitlines() if line.startswith("{")][-1]
    told: dict[str, object] = json.loads(last)
    return told


def test_a_cluster_grows_from_nothing_for_a_trial_that_no_machine_holds_alone_and_is_let_go(tmp_path: Path) -> None:
    with autoscaled_cluster(cpus=1, machines=2) as address:
        told = _told([str(tmp_path / "grown")], RAY_ADDRESS=address)
    assert told == {"first": 0, "most": 2, "spread": 2, "left": 0, "is_complete": True}
    _assert_as_alone(tmp_path / "grown", tmp_path / "alone", total=6)


def test_a_trial_is_packed_on_one_machine_and_goes_on_with_the_same_bits_when_that_is_lost(tmp_path: Path) -> None:
    told = _told([str(tmp_path / "lost"), "lost"])
    assert told == {"lost": 1, "spread": 1, "is_complete": True}
    _assert_as_alone(tmp_path / "lost", tmp_path / "alone", total=LONG)
