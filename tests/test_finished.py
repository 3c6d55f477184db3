"""Trials by id: exact, by their beginning, and every way in which there is none to use."""

import shutil
from pathlib import Path

import pytest
from torch import nn

from raystudy.errors import SpecError, StorageError
from raystudy.finished import find_finished
from raystudy.records import TrialState
from raystudy.store import Store
from tests.finished_trials import placed, waiting
from tests.tiny_trials import tiny_trial

DONE, OTHER = tiny_trial(), tiny_trial(seed=1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.open(tmp_path / "s", create=True)
    placed(made, DONE, nn.Linear(2, 1))
    placed(made, OTHER, nn.Linear(2, 1))
    return made


def test_a_trial_is_found_by_its_id_and_by_a_beginning_that_no_other_has(store: Store) -> None:
    whole = find_finished(store, DONE.trial_id)
    assert whole.trial_id == DONE.trial_id
    assert whole.spec == DONE
    assert find_finished(store, OTHER.trial_id[:-3]).trial_id == OTHER.trial_id


def test_a_beginning_that_several_have_names_them(store: Store) -> None:
    with pytest.raises(SpecError, match="begins the ids of 2 trials") as caught:
        find_finished(store, "tiny")
    assert DONE.trial_id in str(caught.value)
    assert OTHER.trial_id in str(caught.value)


def test_an_unknown_trial_is_refused_with_those_that_there_are(store: Store) -> None:
    with pytest.raises(SpecError, match=r"has no trial 'r50'.*tiny"):
        find_finished(store, "r50")


@pytest.mark.parametrize(
    ("state", "told"), [(TrialState.DIVERGED, "is diverged at iteration 8 of 8"), (TrialState.RUNNING, "is running")]
)
def test_a_trial_that_is_not_complete_has_no_final_weights(store: Store, state: TrialState, told: str) -> None:
    spec = tiny_trial(seed=2)
    placed(store, spec, nn.Linear(1, 1), state)
    with pytest.raises(SpecError, match=told):
        find_finished(store, spec.trial_id)


def test_a_trial_that_has_not_begun_is_said_to_be_so(store: Store) -> None:
    spec = tiny_trial(seed=3)
    waiting(store, spec)
    with pytest.raises(SpecError, match="is waiting at iteration 0 of 8"):
        find_finished(store, spec.trial_id)
    store.write_study("s", {"trials": {"tiny-of-a-study": {}}})
    with pytest.raises(SpecError, match="has not begun"):
        find_finished(store, "tiny-of")


def test_weights_that_were_deleted_or_changed_are_not_used(store: Store) -> None:
    trial = find_finished(store, DONE.trial_id)
    folder = trial.checkpoint()
    (folder / "state.pt").write_bytes(b"torn")
    with pytest.raises(StorageError, match=r"cannot be used: .*state\.pt differ"):
        trial.checkpoint()
    shutil.rmtree(folder)
    with pytest.raises(StorageError, match="checkpoint at iteration 8 was deleted"):
        trial.checkpoint()
