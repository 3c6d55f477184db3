"""`raystudy status`, also of what another version has written; `gc` and `report` for programs."""

import json
from pathlib import Path

import pytest

from raystudy.api import study_record
from raystudy.cli import main
from raystudy.spec.plan import make_plan
from raystudy.spec.study import StudySpec
from raystudy.store import Store
from tests.commands.test_frame import documented_keys
from tests.tiny_trials import tiny_trial


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Two studies of a trial each that nobody has trained; one was written by a version that knows more."""
    store = Store.open(tmp_path / "storage", create=True)
    study = StudySpec(name="ours", base=tiny_trial())
    record = study_record(study, make_plan(study.trials()))
    store.write_study("ours", record)
    for trial in record["trials"].values():
        trial["optimizer"]["lookahead"] = 5
    store.write_study("newer", record)
    return tmp_path / "storage"


def test_a_study_of_another_version_takes_a_line_and_stops_no_other(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(storage)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "cannot be read" in line and "lookahead" in line] == [lines[1]]
    assert [line for line in lines if tiny_trial().trial_id in line and "waiting" in line]


def test_status_for_programs_has_the_documented_keys(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(storage), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == documented_keys("status")
    newer, ours = found["studies"]
    assert "lookahead" in newer["problem"]
    assert newer["trials"] == []
    assert ours["problem"] is None
    (trial,) = ours["trials"]
    assert trial == {
        "trial_id": tiny_trial().trial_id,
        "state": "waiting",
        "iteration": 0,
        "total": 8,
        "metrics": {},
        "error": "",
    }


def test_garbage_for_programs_has_the_documented_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Store.open(tmp_path / "storage", create=True)
    assert main(["gc", str(tmp_path / "storage"), "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == documented_keys("gc")
    assert (found["dry_run"], found["segments"]) == (True, [])


def test_a_live_report_cannot_answer_a_program(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(storage), "--live", "--json"]) == 2
    assert "give one of them" in capsys.readouterr().err
