"""What is read off a search's record."""

import re
from pathlib import Path

import pytest

from analysis.search import best_table, budget_table, importance_table, search_tables, slices, trials_table
from analysis.search_page import headline, search_page, write_search_report
from raystudy.errors import StorageError
from raystudy.records import SegmentRef
from raystudy.search_records import SearchRecord, SearchState, SearchTrial
from raystudy.spec.parameter import Parameter
from raystudy.spec.search import Arm, SearchSpec
from raystudy.spec.study import Level
from raystudy.store import Store
from tests.tiny_trials import tiny_trial

SPEC = SearchSpec(
    name="found",
    base=tiny_trial(),
    arms=tuple(Arm(name=kind, overrides={"init.kind": kind}) for kind in ("random", "pretrained")),
    parameters=(
        Parameter(name="base_lr", path="optimizer.base_lr", low=0.01, high=0.16, log=True, steps=5),
        Parameter(name="scales", choices=(Level(name="<one>", overrides={}), Level(name="many", overrides={}))),
    ),
    trials=3,
)


def trial(
    arm: str, number: int, state: SearchState, iteration: int, value: float | None, rate: float, trunk: str = ""
) -> SearchTrial:
    segments = (
        SegmentRef(segment_id=trunk or f"{arm}-{number}-trunk", start=0, end=6),
        SegmentRef(segment_id=f"{arm}-{number}-branch", start=6, end=10),
    )
    return SearchTrial(
        arm=arm,
        number=number,
        generation=number,
        values={"base_lr": rate, "scales": "<one>" if number % 2 else "many"},
        trial_id=f"{arm}-{number}",
        segments=segments,
        total=10,
        state=state,
        iteration=iteration,
        at_rungs={"2": 1.5, "4": 0.5},
        value=value,
    )


RECORD = SearchRecord(
    name="found",
    spec=SPEC.to_dict(),
    trials=(
        trial("random", 0, SearchState.COMPLETE, 10, 5.0, 0.02, "shared"),
        trial("random", 1, SearchState.COMPLETE, 10, 7.0, 0.04, "shared"),
        trial("random", 2, SearchState.PRUNED, 4, None, 0.08),
        trial("pretrained", 0, SearchState.DIVERGED, 2, None, 0.16),
        trial("pretrained", 1, SearchState.COMPLETE, 10, 6.0, 0.01),
        trial("pretrained", 2, SearchState.COMPLETE, 10, 6.0, 0.02),
    ),
    importances={"random": {"base_lr": 0.75, "scales": 0.25}, "pretrained": {}},
    importance_method="PED-ANOVA",
)


def test_the_budget_counts_a_shared_trunk_once() -> None:
    lines = {line[0]: line[1:] for line in budget_table(RECORD).lines}
    # trials, complete, pruned, diverged, failed, trained, of trials, unpruned
    assert lines["random"] == ("3", "2", "1", "0", "0", "18", "24", "30")
    assert lines["pretrained"] == ("3", "2", "0", "1", "0", "22", "22", "30")


def test_the_best_is_the_largest_complete_value_and_the_first_of_equals() -> None:
    assert [line[:3] for line in best_table(RECORD).lines] == [("random", "7.0", "1"), ("pretrained", "6.0", "1")]


def test_importance_is_of_the_arms_that_have_it_and_says_that_it_rests_on_few() -> None:
    table = importance_table(RECORD)
    assert table.header == ("parameter", "random")
    assert table.lines == [("base_lr", "75%"), ("scales", "25%")]
    assert "random 2" in table.note


def test_every_trial_is_in_the_table_with_its_rungs_and_only_complete_ones_have_a_value() -> None:
    lines = {line[0]: line for line in trials_table(RECORD).lines}
    assert len(lines) == 6
    assert lines["random 2"][1:5] == ("pruned", "4", "–", "1.5 at 2, 0.5 at 4")
    assert lines["random 1"][3] == "7.0"


def test_slices_are_complete_trials_by_value() -> None:
    found = slices(RECORD)
    assert found["base_lr"]["random"] == [(0.02, 5.0), (0.04, 7.0)]
    assert found["scales"]["pretrained"] == [("<one>", 6.0), ("many", 6.0)]


def test_the_page_draws_every_complete_trial_in_every_slice_and_escapes_names() -> None:
    page = search_page(RECORD)
    assert headline(RECORD) == "box AP 7.0 from random and 6.0 from pretrained"
    assert headline(RECORD) in page
    assert len(re.findall("<circle", page)) == 4 * 2
    assert "<one>" not in page
    for table in search_tables(RECORD).values():
        assert table.title in page


def test_a_search_without_any_complete_trial_has_a_page(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s", create=True)
    store.write_search(SearchRecord(name="begun", spec=SPEC.to_dict()))
    path = write_search_report(str(store.scratch), "begun")
    assert "No trial is complete yet" in path.read_text()
    with pytest.raises(StorageError, match="no search 'other'"):
        write_search_report(str(store.scratch), "other")


def test_the_record_comes_back_from_the_storage(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s", create=True)
    store.write_search(RECORD)
    again = store.read_search("found")
    assert again is not None
    assert again.trials == RECORD.trials
    assert (again.importances, again.best_trial("random")) == (RECORD.importances, RECORD.trials[1])
    newer = {**RECORD.to_dict(), "version": 99}
    with pytest.raises(StorageError, match="version 99"):
        SearchRecord.from_dict(newer)
