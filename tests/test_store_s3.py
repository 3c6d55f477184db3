"""A storage in an object store: a trial trained into it, looked at, reported, exported; what a laptop does with it."""

import json
import shutil
from pathlib import Path

import pytest

from raystudy.api import study_record
from raystudy.cli import main
from raystudy.cluster.garbage import collect_garbage
from raystudy.cluster.ledger import settle
from raystudy.cluster.settings import RunSettings
from raystudy.cluster.worker import run_segment
from raystudy.finished import find_finished
from raystudy.spec.plan import Plan, make_plan
from raystudy.spec.study import Axis, Level, StudySpec
from raystudy.store import Store
from tests.cluster.without_ray import FakeRun, KilledError
from tests.segment_files import assert_nothing_committed_is_trained_again
from tests.tiny_trials import tiny_trial

STUDY = StudySpec(
    name="length",
    unit=4,
    base=tiny_trial(total=4, before_end=2),
    axes=(Axis(name="seed", levels=tuple(Level(name=str(seed), overrides={"seed": seed}) for seed in (0,))),),
)


def _trained(storage: str, kill_at: int | None = None) -> tuple[Plan, Store]:
    plan = make_plan(STUDY.trials())
    given = RunSettings(storage=storage, study=STUDY.name, tensorboard=False)
    store = Store.open(storage, create=True)
    store.write_study(STUDY.name, study_record(STUDY, plan))
    for number, segment in enumerate(plan.segments):
        if kill_at is not None and number == 0:
            with pytest.raises(KilledError):
                run_segment(segment, given, FakeRun(kill_at))
        run_segment(segment, given, FakeRun())
    settle(store, plan)
    return plan, store


def test_a_study_killed_and_resumed_in_s3_gives_the_rows_of_one_in_a_folder(
    s3: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, store = _trained(s3, kill_at=2)
    _, local = _trained(str(tmp_path / "local"))
    for trial_id in plan.trials:
        ours, theirs = store.read_trial(trial_id), local.read_trial(trial_id)
        assert ours is not None
        assert theirs is not None
        assert ours.metrics == theirs.metrics
        losses = [[row.loss for row in s.trial_rows(r)] for s, r in ((store, ours), (local, theirs))]
        assert repr(losses[0]) == repr(losses[1])
    assert assert_nothing_committed_is_trained_again(store) == sum(s.end - s.start for s in plan.segments)
    shutil.rmtree(tmp_path / "cache")  # as another machine sees it
    trial_id = next(iter(plan.trials))
    assert main(["status", s3]) == 0
    assert capsys.readouterr().out.count("complete") == 1
    assert main(["report", s3, "--study", "length"]) == 0
    told = capsys.readouterr().out
    assert f"{s3}/reports/length/report.html" in told.replace("\n", "")
    page = store.files.read("reports/length/report.html")
    assert page is not None
    assert b"</html>" in page
    assert main(["evaluate", f"{s3}/{trial_id}"]) == 0
    assert main(["export", f"{s3}/{trial_id}", "--output", str(tmp_path / "exported")]) == 0
    assert json.loads((tmp_path / "exported" / "trial.json").read_text())["trial_id"] == trial_id
    assert find_finished(store, trial_id).final_row() is not None
    kept = store.files.size("")
    assert collect_garbage(store).segments == ()
    assert 0 < store.files.size("") <= kept
