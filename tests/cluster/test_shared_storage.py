"""Two drivers with one study on one storage: every segment is trained once, both end with all of it. No cluster."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from raystudy.cluster import leases
from raystudy.cluster.ledger import pending_segments, settle
from raystudy.cluster.room import Group
from raystudy.cluster.searcher import PlanSearcher
from raystudy.cluster.settings import RunSettings
from raystudy.records import EvalRow, TrialState
from raystudy.segment_store import SegmentStore
from raystudy.spec.plan import Plan, Segment, make_plan
from raystudy.store import Store
from tests.tiny_trials import settings, tiny_trial

PLAN = make_plan([tiny_trial(total=6), tiny_trial(total=10)])


class OpenGate:
    """Room for one node at a time."""

    def admits(self, group: Group, flying: Sequence[Group], ready: Sequence[Group]) -> bool:
        """As the gate."""
        return not flying

    def renew(self, flying: Sequence[Group], ready: Sequence[Group] = ()) -> None:
        """As the gate."""


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunSettings:
    monkeypatch.setattr(leases, "LOOK_EVERY_S", 0.0)
    return settings(tmp_path / "s")


def _driver(given: RunSettings, plan: Plan = PLAN) -> PlanSearcher:
    pending = pending_segments(Store.open(given.storage), plan)
    return PlanSearcher(plan, pending, given, {}, OpenGate())  # type: ignore[arg-type]


def _as_trained(given: RunSettings, config: dict[str, Any]) -> None:
    """What training a node leaves in the storage, as far as scheduling looks at it."""
    segment = Segment.from_dict(config["node"])
    kept: SegmentStore = Store.open(given.storage).segment(segment.segment_id)
    attempt = kept.begin_attempt(at_most=segment.end).number
    points = sorted({*segment.forks, segment.end} - {segment.start})
    row = {"segment_id": segment.segment_id, "lr": 0.1, "global_batch": 2, "workers": 1, "loss": 1.0}
    rows = [EvalRow(iteration=iteration, **row) for iteration in points]
    for iteration in points:
        kept.commit(attempt, iteration, lambda folder: None, [r for r in rows if r.iteration <= iteration])
    kept.finish(attempt, {"state": "complete", "iteration": segment.end, "error": ""}, rows)


def test_each_node_is_handed_to_one_driver_and_both_end(given: RunSettings) -> None:
    drivers, ended = {"one": _driver(given), "two": _driver(given)}, set[str]()
    trained: list[str] = []
    flying: dict[str, dict[str, Any]] = {}
    for turn in range(60):
        name = ("one", "two")[turn % 2]
        searcher = drivers[name]
        if name in flying and turn % 3 == 0:  # a node takes a while, so that the other driver meets it at work
            _as_trained(given, flying[name])
            trained.append(flying[name]["node_id"])
            del flying[name]
            searcher.on_trial_complete(name)
        if name not in flying and name not in ended:
            config = searcher.suggest(name)
            if isinstance(config, dict):
                assert config["node_id"] not in {other["node_id"] for other in flying.values()}
                flying[name] = config
            elif config == Searcher.FINISHED:
                ended.add(name)
    assert ended == {"one", "two"}
    assert sorted(trained) == sorted(segment.segment_id for segment in PLAN.segments), "each once"
    for searcher in drivers.values():
        searcher.close()
    store = Store.open(given.storage)
    assert [store.segment(segment.segment_id).newest_attempt() for segment in PLAN.segments] == [1, 1, 1]


def test_a_node_that_ended_early_elsewhere_is_not_tried_once_more_by_who_waited(given: RunSettings) -> None:
    one, two = _driver(given), _driver(given)
    config = one.suggest("1")
    assert isinstance(config, dict)
    assert two.suggest("2") is None
    kept = Store.open(given.storage).segment(config["node_id"])
    kept.finish(kept.begin_attempt().number, {"state": "diverged", "iteration": 1, "error": "nan"}, [])
    one.on_trial_complete("1")
    assert two.suggest("2") in (None, Searcher.FINISHED)
    assert two.suggest("2") == Searcher.FINISHED
    assert kept.newest_attempt() == 1
    records = settle(Store.open(given.storage), PLAN)
    assert {record.state for record in records.values()} == {TrialState.DIVERGED}
    one.close()
    two.close()


def test_a_node_of_a_driver_that_was_killed_goes_to_the_other(
    given: RunSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "DEAD_AFTER_S", 0.2)
    one, two = _driver(given), _driver(given)
    monkeypatch.setattr(leases.Leases, "_beat", lambda self: None)  # no heart beats any more
    config = one.suggest("1")
    assert isinstance(config, dict)
    assert not Store.open(given.storage).files.names("drivers"), "it was killed before its first beat"
    taken = two.suggest("2")
    assert isinstance(taken, dict)
    assert taken["node_id"] == config["node_id"]
    one.close()
    two.close()
