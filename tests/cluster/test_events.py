"""One line an event on stderr."""

import json
import logging

import pytest

from raystudy.cluster.events import show_events, tell
from raystudy.cluster.flights import Flights
from raystudy.cluster.room import Group


@pytest.fixture(autouse=True)
def _no_handlers_left() -> object:
    logger = logging.getLogger("raystudy")
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:], logger.level = handlers, level


def test_every_event_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    show_events("json")
    flights = Flights()
    flights.begin("t1", "a-node", Group(2, 1))
    flights.end("t1")
    flights.fail("a-node", progress=0)
    logging.getLogger("raystudy.cluster.gate").warning("waiting for %d\nmachines", 2)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["start", "end", "failure", "waiting for 2\nmachines"]
    assert lines[0] | {"node": "a-node", "workers": 2} == lines[0]
    assert lines[2] | {"node": "a-node", "in_a_row": 1, "again_in_s": 1.0} == lines[2]


def test_as_text_by_the_second_call_each_line_is_there_once(capsys: pytest.CaptureFixture[str]) -> None:
    show_events("json")
    show_events("text")
    tell("start", node="a-node")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("info start node=a-node")


def test_unasked_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    tell("start", node="a-node")
    assert capsys.readouterr().err == ""
