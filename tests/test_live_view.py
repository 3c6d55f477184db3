"""The live view over a storage that changes under it, on a terminal and in a log."""

import io
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from raystudy import live_view
from raystudy.cluster.dashboard import dashboard_address
from raystudy.live_view import LiveView
from raystudy.spec.plan import make_plan
from raystudy.store import Store
from tests.tiny_trials import tiny_trial

SEGMENTS = make_plan([tiny_trial(total=6), tiny_trial(total=10)]).segments
TRUNK = SEGMENTS[0]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Empty; whoever looks does it often."""
    for name in ("REFRESH_S", "LOG_REFRESH_S", "FIRST_SUMMARY_S"):
        monkeypatch.setattr(live_view, name, 0.02)
    return Store.open(tmp_path, create=True)


def work(store: Store, iteration: int, **more: float) -> None:
    """What somebody at work on the trunk leaves."""
    kept = store.segment(TRUNK.segment_id)
    if not kept.newest_attempt():
        kept.begin_attempt()
    kept.write_progress({"iteration": iteration, "end": TRUNK.end, "loss": 1.5, **more})


def watched(store: Store, during: Callable[[io.StringIO], None], *, terminal: bool) -> str:
    """All that was printed while ``during`` ran."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, height=30, legacy_windows=False)
    with LiveView(store, SEGMENTS, console, price_per_hour=2.0, dashboard=lambda: "http://here"):
        during(out)
    return out.getvalue()


def wait_for(out: io.StringIO, words: str) -> None:
    end = time.monotonic() + 20
    while words not in out.getvalue():
        assert time.monotonic() < end, f"never printed {words!r}, but {out.getvalue()!r}"
        time.sleep(0.01)


def test_a_log_says_who_began_how_far_it_is_and_what_it_cost(store: Store) -> None:
    def during(out: io.StringIO) -> None:
        work(store, 2)
        wait_for(out, "2/14 iterations after")

    lines = watched(store, during, terminal=False).splitlines()
    assert "Ray's dashboard: http://here" in lines
    assert f"{TRUNK.segment_id} began at 0 of 6" in lines
    (summary,) = {line.split("; ", 1)[1] for line in lines if line.startswith("2/14")}
    assert summary == "1 running, 0 of 3 done; cost 0.00 so far"
    assert not any("\x1b" in line for line in lines)


def test_a_log_does_not_repeat_itself(store: Store) -> None:
    def during(out: io.StringIO) -> None:
        work(store, 2)
        wait_for(out, "2/14 iterations")
        time.sleep(0.5)

    lines = watched(store, during, terminal=False).splitlines()
    assert len([line for line in lines if "began" in line]) == 1
    assert len(lines) < 12  # 25 looks


def test_a_terminal_shows_the_tree_and_keeps_an_ap_until_the_next(store: Store) -> None:
    def during(out: io.StringIO) -> None:
        work(store, 2, box_ap=7.5)
        wait_for(out, "AP 7.5")
        work(store, 3)
        wait_for(out, "3/6")

    printed = watched(store, during, terminal=True)
    assert "├─ " in printed
    assert "AP 7.5" in printed.split("3/6", 1)[1]


def test_what_an_earlier_run_left_is_not_running(store: Store) -> None:
    work(store, 2)

    def during(out: io.StringIO) -> None:
        wait_for(out, "0 running, 0 of 3 done")

    assert "began" not in watched(store, during, terminal=False)


def test_there_is_no_dashboard_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raystudy.cluster.dashboard.sys.modules", {})
    assert dashboard_address() is None
