"""SIGKILL at seeded moments, to the driver, to whoever trains, to controllers: in the end the same bits, once."""

import dataclasses
import random
from pathlib import Path

import pytest

from benchmarks.chaos import TIMEOUT_S, Tally, compare, disturb, plan_of, rounds, undisturbed
from benchmarks.chaos_kills import KINDS, Life
from raystudy.records import TrialState
from raystudy.store import Store

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(5 * TIMEOUT_S)]  # what hangs is told with what it printed


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a study with one worker leaves behind that nobody disturbs."""
    return undisturbed(tmp_path_factory.mktemp("chaos") / "undisturbed", 1)


def _assert_clean(folder: Path, undisturbed_storage: Path, workers: int, kills: int) -> set[str]:
    (folder / "killed").mkdir()
    tally, told = Tally(), list[str]()
    draw = random.Random(workers)
    disturb(folder / "killed" / "s", undisturbed_storage, workers, kills, draw, tally, told.append)
    assert tally.is_clean, "\n".join(told)
    assert sum(tally.kills.values()) >= kills - 1, "\n".join(told)  # one may have aimed at what had just ended
    return set(tally.kills)


def test_a_study_under_kills_ends_with_the_same_bits(tmp_path: Path, reference: Path) -> None:
    """A study's own process takes the head of its Ray with it: the next one runs on a new cluster."""
    kinds = _assert_clean(tmp_path, reference, workers=1, kills=6)
    assert {"driver"} < kinds <= set(KINDS)


def test_groups_of_workers_under_kills_of_driver_and_controller_end_with_the_same_bits(tmp_path: Path) -> None:
    assert _assert_clean(tmp_path, undisturbed(tmp_path / "undisturbed", 2), workers=2, kills=2)


def test_a_study_none_of_whose_processes_can_be_reused_ends_with_the_same_bits(
    tmp_path: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tune then ends trials with an error before their nodes begin, and tells no search algorithm of it."""
    monkeypatch.setenv("TUNE_FUNCTION_THREAD_TIMEOUT_S", "0")
    storage = undisturbed(tmp_path / "not-reused", 1)
    assert "Could not re-use" in (storage.parent / "output.txt").read_text()
    assert compare(storage, reference, plan_of(1)) == (0, 0, 0)


def test_two_studies_at_once_on_one_storage_train_nothing_twice(tmp_path: Path, reference: Path) -> None:
    """Each with its own process and its own Ray: what one has leased, the other waits for."""
    plan, storage = plan_of(1), tmp_path / "shared" / "s"
    storage.parent.mkdir()
    lives = [Life(storage, plan, 1) for _ in range(2)]
    try:
        assert [life.process.wait(2 * TIMEOUT_S) for life in lives] == [0, 0], lives[0].told()
    finally:
        for life in lives:
            life.end()
    assert compare(storage, reference, plan) == (0, 0, 0)
    store = Store.open(storage)
    assert [store.segment(segment.segment_id).newest_attempt() for segment in plan.segments] == [1] * len(plan.segments)


def test_what_is_lost_or_differs_is_found(tmp_path: Path, reference: Path) -> None:
    plan = plan_of(1)
    assert compare(reference, reference, plan) == (0, 0, 0)
    store = Store.open(reference)
    record = store.trials()[0]
    store.write_trial(dataclasses.replace(record, state=TrialState.FAILED))
    found = compare(reference, reference, plan)
    store.write_trial(record)
    assert found == (1, 0, 0)


def test_every_kill_is_spent_and_some_hit_groups_of_workers() -> None:
    for kills in (1, 10, 100):
        assert sum(count for _, count in rounds(kills)) == kills
    assert {workers for workers, _ in rounds(10)} == {1, 2}
