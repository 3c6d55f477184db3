"""Leases: one driver a node, taken over when it is dead and never before."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from raystudy.cluster import leases
from raystudy.cluster.leases import BEAT_S, DEAD_AFTER_S, LOOK_EVERY_S, Leases
from raystudy.files import Files, open_files
from raystudy.files.objects import ObjectFiles


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["folder", "objects"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    return open_files(tmp_path) if request.param == "folder" else ObjectFiles("s3://memory/study", MemoryStore())


def _dead_in_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every driver were on a machine of its own: only beats tell who lives."""
    monkeypatch.setattr(leases, "_machine", lambda: "")


def test_a_node_is_one_drivers_until_it_gives_it_back(files: Files) -> None:
    one, two = Leases(files), Leases(files, Clock())
    assert one.take("a")
    assert one.take("a"), "it has it"
    assert not two.take("a")
    assert two.is_elsewhere("a")
    assert not one.is_elsewhere("a")
    assert two.take("b")
    one.release("a")
    assert two.take("a")
    assert not one.take("a")
    one.close()
    two.close()
    assert files.names("drivers") == []
    assert Leases(files).take("a")


def test_of_many_that_ask_at_once_one_gets_it(files: Files) -> None:
    drivers, won = [Leases(files) for _ in range(6)], []

    def take(driver: Leases) -> None:
        if driver.take("a"):
            won.append(driver.driver)

    threads = [threading.Thread(target=take, args=(driver,)) for driver in drivers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    for driver in drivers:
        driver.close()


def test_a_driver_whose_beat_stands_still_is_dead_and_one_that_beats_is_not(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    _dead_in_elsewhere(monkeypatch)
    clock = Clock()
    dead, other = Leases(files, beat_s=1e6), Leases(files, clock, beat_s=1e6)
    assert dead.take("a")
    while clock.now < DEAD_AFTER_S - LOOK_EVERY_S:
        assert other.is_elsewhere("a")
        clock.now += LOOK_EVERY_S
    dead._beat()
    while clock.now < 2 * DEAD_AFTER_S - 2 * LOOK_EVERY_S:
        assert other.is_elsewhere("a"), "it has beaten once more"
        clock.now += LOOK_EVERY_S
    clock.now += 3 * LOOK_EVERY_S
    assert not other.is_elsewhere("a")
    assert other.take("a")
    assert not dead.take("a"), "it was not dead, but has lost the node"
    assert dead.is_elsewhere("a")


def test_an_observer_that_was_away_has_seen_nothing_stand_still(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    _dead_in_elsewhere(monkeypatch)
    clock = Clock()
    one, other = Leases(files, beat_s=1e6), Leases(files, clock, beat_s=1e6)
    assert one.take("a")
    assert other.is_elsewhere("a")
    clock.now += 3600
    assert other.is_elsewhere("a")
    assert not other.take("a")


def test_a_heart_beats_by_itself(files: Files) -> None:
    one = Leases(files, beat_s=0.05)
    one.take("a")
    for _ in range(100):
        if files.read_json(f"drivers/{one.driver}.json")["beat"] > 2:
            break
        threading.Event().wait(0.05)
    else:
        pytest.fail("the heart stands still")
    one.close()
    assert BEAT_S < DEAD_AFTER_S / 3


def test_a_killed_driver_of_this_machine_is_taken_over_at_once(tmp_path: Path) -> None:
    program = (
        "import os, sys; from raystudy.cluster.leases import Leases; from raystudy.files import open_files; "
        "assert Leases(open_files(sys.argv[1])).take('a'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], check=False, env={**os.environ})
    assert done.returncode == -9
    other = Leases(open_files(tmp_path))
    assert other.take("a")
    other.close()
