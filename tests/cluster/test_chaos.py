"""SIGKILL at seeded moments, to the driver, to whoever trains a trunk, to anyone: in the end the same bits, once."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from raystudy.records import TrialState
from raystudy.spec.plan import Plan, make_plan
from raystudy.store import Store
from tests.cluster.killed_study import study
from tests.segment_files import assert_nothing_committed_is_trained_again
from tests.tiny_trials import results

pytestmark = pytest.mark.chaos

ROOT = Path(__file__).resolve().parents[2]
KILLS = 12
TIMEOUT_S = 900


def _start(storage: Path, workers: int) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    with open(storage.parent / "output.txt", "ab") as output:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "cluster" / "killed_study.py"), str(storage), str(workers)],
            env=environment,
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )


def _finish(storage: Path, workers: int) -> None:
    process = _start(storage, workers)
    assert process.wait(TIMEOUT_S) == 0, (storage.parent / "output.txt").read_text()[-4000:]


def _committed(storage: Path, plan: Plan) -> int:
    store = Store.open_unchecked(storage)
    return sum(max(0, store.segment(s.segment_id).committed_iteration() - s.start) for s in plan.segments)


def _workers_of(storage: Path, plan: Plan, *, trunks_only: bool) -> list[int]:
    """Processes that train a segment now, as they have registered in the storage."""
    found = []
    for segment in plan.segments:
        store = Store.open_unchecked(storage)
        kept = store.segment(segment.segment_id)
        attempt = kept.newest_attempt()
        if attempt and kept.result() is None and (segment.kind == "trunk" or not trunks_only):
            with contextlib.suppress(ValueError, OSError):  # it may be writing its registration right now
                found.append(int(store.files.read_json(f"{kept.folder}/attempts/{attempt}.json")["pid"]))
    return found


def _kill(process_id: int) -> bool:
    try:
        os.kill(process_id, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _chaos(storage: Path, workers: int, kills: int, seed: int) -> list[tuple[str, int]]:
    """Kill at seeded moments of progress until ``kills`` have hit; what was killed, at how many iterations."""
    draw, plan = random.Random(seed), make_plan(study(workers).trials())
    total, hits = plan.shared_iterations, []
    moments = sorted(draw.randrange(0, total) for _ in range(kills))
    targets = ["driver" if workers > 1 and n % 2 else ("driver", "trunk", "worker")[n % 3] for n in range(kills)]
    process = _start(storage, workers)
    deadline = time.monotonic() + TIMEOUT_S
    for moment, aim in zip(moments, targets, strict=True):
        while _committed(storage, plan) < moment and process.poll() is None:
            assert time.monotonic() < deadline, (
                "the study hangs: " + (storage.parent / "output.txt").read_text()[-3000:]
            )
            time.sleep(0.05)
        time.sleep(draw.random())
        candidates = _workers_of(storage, plan, trunks_only=aim == "trunk") if aim != "driver" else []
        target = aim if any(_kill(candidate) for candidate in candidates[:1]) else "driver"
        if target == "driver":  # aimed at, or nobody trains at this moment: the driver is always there
            process.kill()
            process.wait()
            process = _start(storage, workers)
        hits.append((target, _committed(storage, plan)))
    process.wait(TIMEOUT_S)
    _finish(storage, workers)
    return hits


def _assert_as_undisturbed(storage: Path, reference: Path, workers: int) -> None:
    plan, store, other = make_plan(study(workers).trials()), Store.open(storage), Store.open(reference)
    for trial_id in plan.trials:
        record, expected = store.read_trial(trial_id), other.read_trial(trial_id)
        assert record is not None
        assert expected is not None
        assert record.state == TrialState.COMPLETE
        assert results(store.trial_rows(record)) == results(other.trial_rows(expected))
        last = record.segments[-1]
        one, two = (
            torch.load(s.segment(last.segment_id).load(last.end) / "state.pt", weights_only=True)["model"]
            for s in (store, other)
        )
        assert [name for name in one if not torch.equal(one[name], two[name])] == []


@contextmanager
def _storages(folder: Path) -> Iterator[tuple[Path, Path]]:
    (folder / "killed").mkdir()
    (folder / "undisturbed").mkdir()
    yield folder / "killed" / "s", folder / "undisturbed" / "s"


@pytest.mark.parametrize(("workers", "kills"), [(1, KILLS), (2, 2)])
def test_a_study_under_kills_ends_with_the_same_bits(tmp_path: Path, workers: int, kills: int) -> None:
    with _storages(tmp_path) as (killed, undisturbed):
        _finish(undisturbed, workers)
        hits = _chaos(killed, workers, kills, seed=workers)
        assert len(hits) == kills
        if kills >= 10:
            assert len({target for target, _ in hits}) > 1
        _assert_as_undisturbed(killed, undisturbed, workers)
        assert_nothing_committed_is_trained_again(Store.open(killed))
