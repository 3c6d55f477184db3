"""A search: the same however it is disturbed, pruned at equal iteration, each iteration trained once."""

import dataclasses
import json
import math
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import optuna
import pytest

from raystudy.cluster.garbage import collect_garbage
from raystudy.cluster.search import prepare_search, run_search
from raystudy.cluster.search_ledger import rung_bar
from raystudy.cluster.search_searcher import SearchSearcher
from raystudy.cluster.tracked_runs import TrackedRun
from raystudy.errors import SpecError
from raystudy.records import TrialState
from raystudy.search_records import SearchRecord, SearchState
from raystudy.spec.search import split
from raystudy.store import Store
from tests.cluster.tiny_searches import InProcess, KilledError, run_in_process, tiny_search
from tests.segment_files import assert_nothing_committed_is_trained_again
from tests.tiny_trials import settings

Finished = tuple[Path, SearchRecord, InProcess]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    storage, engine = tmp_path_factory.mktemp("search") / "s", InProcess()
    with pytest.MonkeyPatch.context() as monkeypatch:
        record = run_in_process(tiny_search(), storage, monkeypatch, engine)
    return storage, record, engine


def trained_iterations(storage: Path) -> int:
    """Iterations that were committed, by the logs; fails when one was committed twice."""
    return assert_nothing_committed_is_trained_again(Store.open(storage))


def test_every_trial_ends_and_the_record_is_the_storages(finished: Finished) -> None:
    storage, record, _ = finished
    assert len(record.trials) == 6
    assert {trial.state for trial in record.trials} == {SearchState.COMPLETE, SearchState.PRUNED}
    assert Store.open(storage).read_search("tiny") == record
    assert len({tuple(trial.values.items()) for trial in record.trials}) == 6


def test_a_pruned_trial_is_pruned_at_the_rung_and_has_no_value(finished: Finished) -> None:
    storage, record, _ = finished
    search = tiny_search()
    for trial in record.trials:
        earlier = [other for other in record.trials if other.generation < trial.generation]
        bars = {rung: rung_bar(search, earlier, rung) for rung in search.rungs}
        below = [int(rung) for rung, value in trial.at_rungs.items() if value < (bars[int(rung)] or 0.0)]
        if trial.state == SearchState.PRUNED:
            assert trial.value is None
            assert below == [trial.iteration]
            assert not Store.open(storage).is_complete(trial.trial_id)
        else:
            assert below == []
            assert trial.iteration == trial.total


def test_no_rung_lies_behind_a_drop(finished: Finished) -> None:
    _, record, _ = finished
    for trial in record.trials:
        spec = tiny_search().trial(trial.arm, trial.values)
        assert all(int(rung) <= spec.schedule.milestones[0] for rung in trial.at_rungs)


def test_a_complete_trial_is_a_trial_like_any_other(finished: Finished) -> None:
    storage, record, _ = finished
    store = Store.open(storage)
    for trial in record.trials:
        if trial.state == SearchState.COMPLETE:
            kept = store.read_trial(trial.trial_id)
            assert kept is not None
            assert kept.state == TrialState.COMPLETE
            assert kept.metrics["box_ap"] == trial.value
            assert kept.segments == trial.segments


def test_trials_that_differ_in_their_cool_down_share_a_trunk(finished: Finished) -> None:
    storage, record, _ = finished
    assert len({trial.segments[0].segment_id for trial in record.trials}) == 2  # of two rates on the grid
    assert trained_iterations(storage) == record.trained_iterations("random")
    assert record.trained_iterations("random") < sum(trial.iteration for trial in record.trials)


@pytest.mark.parametrize("die_after", [1, 4, 7])
def test_a_killed_search_goes_on_to_the_same_record_and_repeats_nothing(
    die_after: int, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = tmp_path / "s"
    with pytest.raises(KilledError):
        run_in_process(tiny_search(), storage, monkeypatch, InProcess(die_after=die_after))
    if die_after == 4:  # what only a view has may be lost
        (storage / "searches" / "tiny" / "optuna.db").unlink()
    record = run_in_process(tiny_search(), storage, monkeypatch)
    assert record == finished[1]
    assert trained_iterations(storage) == record.trained_iterations("random")
    assert shown(storage) == shown(finished[0])


def test_it_does_not_matter_which_trial_of_a_generation_is_faster(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = run_in_process(tiny_search(), tmp_path / "s", monkeypatch, InProcess(slots=2, seed=1))
    assert record == finished[1]


def test_more_trials_go_on_as_if_they_had_been_asked_for_at_once(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = run_in_process(tiny_search(trials=3), tmp_path / "s", monkeypatch)
    assert few.trials == finished[1].trials[:3]
    more = run_in_process(tiny_search(), tmp_path / "s", monkeypatch)
    assert (more.trials, more.best) == (finished[1].trials, finished[1].best)


def test_the_same_search_again_trains_nothing(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = InProcess()
    assert run_in_process(tiny_search(), finished[0], monkeypatch, engine) == finished[1]
    assert engine.trained == []


def test_failed_trials_are_tried_again_and_optuna_sees_what_became_of_them(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, search = tmp_path / "s", tiny_search(trials=2)
    broken = run_in_process(search, storage, monkeypatch, InProcess(is_broken=True))
    assert [trial.state for trial in broken.trials] == [SearchState.FAILED] * 2
    assert [trial.state.name for trial in shown_trials(storage)] == ["FAIL"] * 2
    assert broken.best == {}
    assert run_in_process(search, storage, monkeypatch).trials == finished[1].trials[:2]
    assert [trial.state.name for trial in shown_trials(storage)] == ["COMPLETE"] * 2


def test_another_search_of_the_same_name_is_refused_with_what_differs(finished: Finished) -> None:
    with pytest.raises(SpecError) as refused:
        run_search(tiny_search(seed=1, keep=0.3), settings(finished[0]))
    assert "seed is 1, but was 0" in str(refused.value)
    assert "keep is 0.3, but was 0.5" in str(refused.value)


def test_a_search_that_cannot_be_is_refused_before_anything_is_there(tmp_path: Path) -> None:
    given = settings(tmp_path / "s")
    before = sorted(path.name for path in (tmp_path / "s").iterdir())
    with pytest.raises(SpecError, match="rungs are"):
        run_search(tiny_search(rungs=(3,)), given)
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == before


def test_divergence_is_told_and_never_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = tiny_search(trials=2)
    rate = search.parameters[0]
    wild = dataclasses.replace(rate, low=0.02, high=1e12, steps=2)
    record = run_in_process(dataclasses.replace(search, parameters=(wild,), rungs=()), tmp_path / "s", monkeypatch)
    states = {trial.values["base_lr"]: trial.state for trial in record.trials}
    assert states == {0.02: SearchState.COMPLETE, 1e12: SearchState.DIVERGED}
    assert record.of_arm("random")[record.best["random"]].values == {"base_lr": 0.02}
    assert {t.state.name for t in shown_trials(tmp_path / "s")} == {"COMPLETE", "PRUNED"}


def shown_trials(storage: Path) -> list[optuna.trial.FrozenTrial]:
    study = optuna.load_study(study_name="tiny-random", storage=f"sqlite:///{storage}/searches/tiny/optuna.db")
    return study.get_trials()


def shown(storage: Path) -> list[tuple[object, ...]]:
    """What Optuna's database has, without times."""
    found = shown_trials(storage)
    return [(t.number, t.state, t.params, t.intermediate_values, t.values, t.user_attrs) for t in found]


def test_what_only_a_search_has_trained_is_no_garbage(finished: Finished) -> None:
    assert collect_garbage(Store.open(finished[0]), dry_run=True).segments == ()


def test_optuna_sees_pruned_trials_as_pruned_and_the_best_is_ours(finished: Finished) -> None:
    storage, record, _ = finished
    states = {"complete": "COMPLETE", "pruned": "PRUNED"}
    assert [t.state.name for t in shown_trials(storage)] == [states[t.state.value] for t in record.trials]
    study = optuna.load_study(study_name="tiny-random", storage=f"sqlite:///{storage}/searches/tiny/optuna.db")
    best = record.best_trial("random")
    assert best is not None
    assert math.isclose(study.best_value, best.value or math.nan)


def test_a_segment_of_a_search_is_that_of_a_study_that_cools_down_otherwise(finished: Finished) -> None:
    _, record, _ = finished
    trial = next(trial for trial in record.trials if trial.state == SearchState.COMPLETE)
    plan = split(tiny_search().trial("random", trial.values))
    assert plan.paths[trial.trial_id] == trial.segments
    assert [segment.kind for segment in plan.segments] == ["trunk", "branch"]


def test_optuna_dashboard_opens_it(finished: Finished) -> None:
    storage, record, _ = finished
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"sqlite:///{storage}/searches/tiny/optuna.db"
    command = [str(Path(sys.executable).parent / "optuna-dashboard"), url, "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        studies = _get(f"http://127.0.0.1:{port}/api/studies", server)["study_summaries"]
        assert [study["study_name"] for study in studies] == ["tiny-random"]
        detail = _get(f"http://127.0.0.1:{port}/api/studies/{studies[0]['study_id']}", server)
    finally:
        server.kill()
        server.wait()
    assert [trial["state"].lower() for trial in detail["trials"]] == [t.state.value for t in record.trials]


def _get(address: str, server: "subprocess.Popen[bytes]", patience_s: float = 60) -> Any:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.load(answer)
        except OSError:
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_people_see_a_search_trial_as_one_run_of_the_job_type_search(tmp_path: Path) -> None:
    given = dataclasses.replace(settings(tmp_path / "s"), tensorboard=True)
    search = tiny_search()
    _, record = prepare_search(search, given)
    searcher = SearchSearcher(search, record, given, lambda now, changed: None)
    trial = searcher.record.trials[0]
    first = searcher.suggest("0")
    assert isinstance(first, dict)
    runs = [TrackedRun.from_dict(run) for run in first["tracked"]]
    assert [(run.job_type, run.group) for run in runs] == [("trunk", "tiny")]
    of_trial = searcher._tracked(trial)[trial.segments[-1].segment_id]
    assert [(run.job_type, run.run_id, run.group) for run in of_trial] == [("search", trial.trial_id, "tiny")]
    assert of_trial[0].config["init"] == "random"
