"""What Tune is handed, and when: through the gate, again after failures, never in vain. Without a cluster."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from raystudy.cluster.ledger import pending_segments, read_trial, reopen, settle
from raystudy.cluster.room import Group
from raystudy.cluster.searcher import PlanSearcher
from raystudy.cluster.tuner import with_failure
from raystudy.errors import ClusterError
from raystudy.records import TrialState
from raystudy.spec.plan import make_plan
from raystudy.store import Store
from tests.tiny_trials import settings, tiny_trial

PLAN = make_plan([tiny_trial(total=6), tiny_trial(total=10)])
TRUNK, SHORT, LONG = PLAN.segments


class FakeGate:
    """Room for so many groups."""

    def __init__(self, room: int, refusal: ClusterError | None = None) -> None:
        self.room, self.refusal, self.renewed = room, refusal, 0

    def admits(self, group: Group, flying: Sequence[Group], ready: Sequence[Group]) -> bool:
        """As the gate."""
        assert ready[0] == group
        if self.refusal is not None:
            raise self.refusal
        return len(flying) < self.room

    def renew(self, flying: Sequence[Group], ready: Sequence[Group] = ()) -> None:
        """As the gate."""
        self.renewed += 1


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("raystudy.cluster.flights.DELAYS_S", (0.0, 0.0, 0.0))
    return settings(tmp_path / "s")


def _searcher(given: Any, gate: FakeGate) -> PlanSearcher:
    return PlanSearcher(PLAN, pending_segments(Store.open(given.storage), PLAN), given, {}, gate)  # type: ignore[arg-type]


def test_nothing_starts_without_room_and_the_study_goes_on_asking(given: Any) -> None:
    gate = FakeGate(room=0)
    searcher = _searcher(given, gate)
    assert searcher.suggest("1") is None
    gate.room = 1
    first = searcher.suggest("1")
    assert isinstance(first, dict)
    assert first["node_id"] == TRUNK.segment_id
    assert searcher.suggest("2") is None  # both branches wait for the trunk
    assert gate.renewed == 1  # and the cluster hears that the study is alive


def test_a_node_that_fails_is_handed_out_again_until_it_is_given_up_with_all_that_needs_it(given: Any) -> None:
    searcher = _searcher(given, FakeGate(room=9))
    for attempt in range(4):
        config = searcher.suggest(str(attempt))
        assert isinstance(config, dict)
        assert config["node_id"] == TRUNK.segment_id
        searcher.on_trial_complete(str(attempt), error=True)
    assert searcher.suggest("4") == Searcher.FINISHED
    assert searcher.failed[TRUNK.segment_id] == "it failed 4 times in a row"
    assert all("its trunk" in searcher.failed[segment.segment_id] for segment in (SHORT, LONG))


def test_the_study_does_not_end_while_a_node_may_still_come_back(given: Any) -> None:
    searcher = _searcher(given, FakeGate(room=9))
    searcher.suggest("0")
    assert searcher.suggest("1") is None


def test_branches_of_a_trunk_that_ended_early_are_given_up_instead_of_waiting_for_ever(given: Any) -> None:
    searcher = _searcher(given, FakeGate(room=9))
    searcher.suggest("0")
    kept = Store.open(given.storage).segment(TRUNK.segment_id)
    attempt = kept.begin_attempt()
    kept.finish(attempt.number, {"state": "failed", "iteration": 0, "error": "out of memory"}, [])
    assert searcher.suggest("1") is None
    searcher.on_trial_complete("0", result={"done": True})
    assert searcher.suggest("2") == Searcher.FINISHED
    assert set(searcher.failed) == {SHORT.segment_id, LONG.segment_id}


def test_a_cluster_that_stays_too_small_ends_the_study_with_the_reason(given: Any) -> None:
    searcher = _searcher(given, FakeGate(room=9, refusal=ClusterError("needs 8 GPU, has 0")))
    assert searcher.suggest("0") is None
    assert searcher.suggest("0") == Searcher.FINISHED
    assert str(searcher.refusal) == "needs 8 GPU, has 0"


def test_what_failed_for_good_is_tried_again_only_when_asked(given: Any) -> None:
    store = Store.open(given.storage)
    records = settle(store, PLAN)
    failed = {TRUNK.segment_id: "it failed 4 times in a row: no space left"}
    for record in records.values():
        assert with_failure(record, failed, store).state == TrialState.FAILED
    assert pending_segments(store, PLAN) == []
    again = settle(store, PLAN)
    assert {(record.state, record.error) for record in again.values()} == {
        (TrialState.FAILED, "it failed 4 times in a row: no space left")
    }
    assert sorted(reopen(store, PLAN)) == sorted(PLAN.trials)
    assert len(pending_segments(store, PLAN)) == 3
    assert {read_trial(store, PLAN, trial_id).state for trial_id in PLAN.trials} == {TrialState.WAITING}
