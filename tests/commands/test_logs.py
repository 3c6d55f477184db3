"""What happened to a trial, and what its workers logged last."""

import json
import logging
import warnings
from pathlib import Path

import pytest

from raystudy.cli import main
from raystudy.cluster.ledger import settle
from raystudy.cluster.worker_log import LINES, kept_log, last_lines
from raystudy.spec.plan import make_plan
from raystudy.store import Store
from tests.tiny_trials import tiny_trial

PLAN = make_plan([tiny_trial(total=6)])
(TRIAL,), (SEGMENT,) = PLAN.trials, [segment.segment_id for segment in PLAN.segments]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store.open(tmp_path / "s", create=True)
    settle(opened, PLAN)
    return opened


def _fails(store: Store) -> None:
    with kept_log(store, SEGMENT, 1):
        logging.getLogger("anything").warning("pictures are slow")
        warnings.warn("a tensor was copied", stacklevel=1)
        raise OSError("no space left")


def test_a_worker_keeps_what_it_logged_and_warned_of_and_what_ended_it(store: Store) -> None:
    with pytest.raises(OSError, match="no space"):
        _fails(store)
    text = "\n".join(last_lines(store, SEGMENT, 100)[1])
    assert "worker 1 begins" in text
    assert "pictures are slow" in text
    assert "a tensor was copied" in text
    assert "OSError: no space left" in text
    (event,) = store.segment(SEGMENT).read_log()
    assert (event["event"], event["rank"], event["error"]) == ("error", 1, "OSError: no space left")


def test_the_lines_of_all_attempts_are_bounded(store: Store) -> None:
    for attempt in range(3):
        with kept_log(store, SEGMENT, 0):
            for number in range(LINES):
                logging.getLogger("anything").warning("%d of attempt %d", number, attempt)
    lines = last_lines(store, SEGMENT, 10 * LINES)[0]
    assert len(lines) == LINES
    assert lines[-1].endswith("of attempt 2")
    assert last_lines(store, SEGMENT, 3) == {0: lines[-3:]}


def test_the_command_prints_events_and_last_lines(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with kept_log(store, SEGMENT, 0):
        logging.getLogger("anything").warning("pictures [are] slow")
    store.segment(SEGMENT).log("given up", error="it failed 4 times in a row", tail=["x"])
    assert main(["logs", TRIAL, "--storage", str(store.location)]) == 0
    told = capsys.readouterr().out
    assert "given up: error it failed 4 times in a row" in told
    assert "pictures [are] slow" in told
    assert main(["logs", SEGMENT, "--storage", str(store.location), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [event["event"] for event in content[SEGMENT]["events"]] == ["given up"]


def test_an_unknown_trial_is_refused_with_those_that_there_are(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["logs", "nobody", "--storage", str(store.location)]) == 2
    assert TRIAL in capsys.readouterr().err
