"""A running study as text, from plans that can be drawn by hand."""

import pytest

from raystudy.live_tree import Seen, bar, events, totals, tree_lines
from raystudy.spec.plan import Plan, make_plan
from tests.tiny_trials import tiny_trial


@pytest.fixture(scope="module")
def plan() -> Plan:
    """For each of two seeds a trunk to 6 with branches to 6 and 10, which fork at 2 and 6."""
    return make_plan([tiny_trial(total=total, seed=seed) for seed in (0, 1) for total in (6, 10)])


def ids(plan: Plan) -> list[str]:
    return [segment.segment_id for segment in plan.segments]


def shown(plan: Plan, seen: dict[str, Seen], most: int = 20, width: int = 110, unicode: bool = True) -> list[str]:
    return [line.text for line in tree_lines(plan.segments, seen, most=most, width=width, unicode=unicode)]


def test_branches_hang_on_their_trunk_with_what_is_new_in_their_names(plan: Plan) -> None:
    trunk, short, long = ids(plan)[:3]
    seen = {
        trunk: Seen(state="done", iteration=6, box_ap=1.25),
        short: Seen(state="running", iteration=4, loss=2.5, box_ap=0.5),
        long: Seen(state="waiting", iteration=6),
    }
    first, second, third = shown(plan, seen)[:3]
    assert first.split() == [trunk, "━" * 16, "done", "AP", "1.2"]
    assert second.startswith("├─ ")
    assert second.split()[-6:] == ["━━━━━━━━╌╌╌╌╌╌╌╌", "4/6", "loss", "2.50", "AP", "0.5"]
    assert third.startswith("└─ ")
    assert third.split()[-2:] == ["╌" * 16, "waiting"]
    assert "branch" in second
    assert trunk not in second


@pytest.mark.parametrize("width", [40, 60, 79, 80, 100, 200])
def test_no_line_is_longer_than_the_terminal(plan: Plan, width: int) -> None:
    seen = {name: Seen(state="running", iteration=3, loss=12.34, box_ap=56.7) for name in ids(plan)}
    lines = shown(plan, seen, width=width)
    assert max(map(len, lines)) <= width
    assert all("AP 56.7" in line for line in lines)


def test_where_there_is_no_room_trees_that_train_stay_and_the_others_are_counted(plan: Plan) -> None:
    second_trunk = ids(plan)[3]
    lines = shown(plan, {second_trunk: Seen(state="running", iteration=1, loss=1.0)}, most=4)
    assert lines[0].startswith(second_trunk)
    assert len(lines) == 4
    assert lines[-1] == "and 3 waiting"


def test_there_is_always_a_line_for_what_does_not_fit(plan: Plan) -> None:
    assert shown(plan, {}, most=2) == ["and 6 waiting"]


def test_a_terminal_without_unicode_gets_ascii(plan: Plan) -> None:
    assert all(line.isascii() for line in shown(plan, {}, unicode=False))


def test_a_bar_is_full_only_when_all_is_done() -> None:
    assert [bar(done, 1000, 4) for done in (0, 249, 250, 999, 1000, 2000)] == [
        "╌╌╌╌",
        "╌╌╌╌",
        "━╌╌╌",
        "━━━╌",
        "━━━━",
        "━━━━",
    ]


def test_shared_iterations_count_once(plan: Plan) -> None:
    seen = {name: Seen(state="waiting", iteration=0) for name in ids(plan)}
    assert totals(plan.segments, seen) == (0, plan.shared_iterations)
    seen[ids(plan)[0]] = Seen(state="running", iteration=3)
    assert totals(plan.segments, seen)[0] == 3
    everything = {s.segment_id: Seen(state="done", iteration=s.end) for s in plan.segments}
    assert totals(plan.segments, everything) == (plan.shared_iterations, plan.shared_iterations)


def test_a_log_is_told_of_begins_and_ends_only(plan: Plan) -> None:
    trunk, short = ids(plan)[:2]
    before = {trunk: Seen(state="waiting", iteration=0), short: Seen(state="waiting", iteration=2)}
    running = before | {trunk: Seen(state="running", iteration=2)}
    further = before | {trunk: Seen(state="running", iteration=4, box_ap=1.0)}
    done = further | {trunk: Seen(state="done", iteration=6, box_ap=2.0), short: Seen(state="stopped", iteration=4)}
    assert events(plan.segments, before, running) == [f"{trunk} began at 0 of 6"]
    assert events(plan.segments, running, further) == []
    assert events(plan.segments, further, done) == [
        f"{trunk} is done at 6 of 6, box AP 2.0",
        f"{short} stopped at 4 of 6",
    ]
