"""Evaluations beside the trials: kept whole, found by their EvalSpec."""

from pathlib import Path

import pytest

from raystudy import atomic
from raystudy.errors import StorageError
from raystudy.evaluations import (
    StoredEvaluation,
    evaluation_id,
    evaluations_place,
    keep_evaluation,
    read_evaluation,
    read_evaluations,
    read_matches,
)
from raystudy.spec.evaluation import EvalSpec
from raystudy.store import Store

PLAIN, MANY = EvalSpec(), EvalSpec(scales=(96, 128), flip=True, merge="vote")


class _Content:
    def save(self, path: Path) -> None:
        path.write_bytes(b"matches")


def _found(evaluation: EvalSpec, box_ap: float = 10.0) -> StoredEvaluation:
    return StoredEvaluation(
        trial_id="t",
        evaluation=evaluation,
        iteration=8,
        metrics={"box_ap": box_ap},
        num_images=4,
        weights_sha256="ab",
        provenance={"device": "cpu"},
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "s", create=True)


def test_what_was_kept_is_found_by_its_evaluation(store: Store) -> None:
    for evaluation in (PLAIN, MANY):
        assert read_evaluation(store, "t", evaluation) is None
        keep_evaluation(store, _found(evaluation), {"box": _Content()})
    assert read_evaluation(store, "t", MANY) == _found(MANY)
    assert {one.evaluation for one in read_evaluations(store, "t")} == {PLAIN, MANY}
    assert read_matches(store, _found(MANY), "box") == b"matches"
    assert read_evaluations(store, "another") == []


def test_the_id_is_that_of_what_decides_the_result() -> None:
    assert evaluation_id(PLAIN) == evaluation_id(EvalSpec(scales=()))
    assert len({evaluation_id(one) for one in (PLAIN, MANY, EvalSpec(flip=True))}) == 3


def test_a_newer_one_replaces_and_a_damaged_one_is_not_there(store: Store) -> None:
    keep_evaluation(store, _found(PLAIN), {})
    keep_evaluation(store, _found(PLAIN, 11.0), {})
    kept = read_evaluation(store, "t", PLAIN)
    assert kept is not None
    assert kept.metrics == {"box_ap": 11.0}
    (store.scratch / evaluations_place("t") / evaluation_id(PLAIN) / "evaluation.json").write_text("{")
    assert read_evaluation(store, "t", PLAIN) is None


def test_another_version_is_refused(store: Store) -> None:
    folder = store.scratch / evaluations_place("t") / evaluation_id(PLAIN)
    atomic.publish_folder(folder, lambda made: atomic.write_json(made / "evaluation.json", {"version": 9}))
    with pytest.raises(StorageError, match="version 9"):
        read_evaluation(store, "t", PLAIN)
