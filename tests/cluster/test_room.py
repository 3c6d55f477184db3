"""Who may start: gangs, priorities, dead studies; pure arithmetic."""

from dataclasses import replace

import pytest

from raystudy.cluster.room import LIFE_S, Group, Machines, Room, Standing, fits, place

ONE, TWO, FOUR = Group(1, 1), Group(2, 1), Group(4, 1)


def _cluster(*cpus: float, taken: float = 0, **placed: tuple[Group, ...]) -> Machines:
    total = [{"CPU": float(count)} for count in cpus]
    free = [dict(machine) for machine in total]
    free[0]["CPU"] -= taken
    return Machines(total=total, free=free, placed=placed)


def test_a_group_is_packed_on_the_fullest_machine_that_holds_all_of_it() -> None:
    free = [{"CPU": 4.0}, {"CPU": 2.0}, {"CPU": 1.0}]
    assert place(TWO, free)
    assert free == [{"CPU": 4.0}, {"CPU": 0.0}, {"CPU": 1.0}]


def test_a_group_that_no_machine_holds_is_spread() -> None:
    free = [{"CPU": 1.0}, {"CPU": 1.0}]
    assert place(TWO, free)
    assert free == [{"CPU": 0.0}, {"CPU": 0.0}]


def test_a_head_without_cpus_is_passed_over() -> None:
    head = {"node:__internal_head__": 1.0}
    assert fits(TWO, [head, {"CPU": 1.0}, {"CPU": 1.0}])
    assert not fits(TWO, [head, {"CPU": 1.0}])


def test_half_a_group_takes_nothing() -> None:
    free = [{"CPU": 1.0}, {"CPU": 0.5}]
    assert not place(TWO, free)
    assert free == [{"CPU": 1.0}, {"CPU": 0.5}]


def test_every_worker_needs_its_gpu_on_the_machine_of_its_cpus() -> None:
    group = Group(2, cpus=4, gpus=1)
    assert not fits(group, [{"CPU": 8.0}, {"CPU": 2.0, "GPU": 2.0}])
    assert fits(group, [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 64.0, "GPU": 8.0}])


def test_what_was_told_to_start_counts_before_it_holds_anything() -> None:
    room, me = Room(), Standing("me")
    cluster = _cluster(3)
    assert room.may_start(me, TWO, cluster)
    assert not room.may_start(replace(me, flying=(TWO,)), TWO, cluster)
    held = _cluster(3, taken=2, me=(TWO,))
    assert not room.may_start(replace(me, flying=(TWO,)), TWO, held)
    assert room.may_start(replace(me, flying=(TWO,)), ONE, held)


def test_the_slot_of_one_that_has_ended_is_free_for_the_next_of_its_size() -> None:
    room, kept = Room(), _cluster(1, taken=1, me=(ONE,))
    assert room.may_start(Standing("me"), ONE, kept)
    assert not room.may_start(Standing("me", flying=(ONE,)), ONE, kept)
    assert not room.may_start(Standing("other"), ONE, kept)


def test_workers_that_wait_go_on_unless_an_earlier_study_waits_for_their_room() -> None:
    room = Room()
    kept = replace(_cluster(2, taken=2, me=(TWO,)), nested=frozenset({"me"}))
    me = Standing("me", since=2.0)
    assert room.may_start(me, TWO, kept)
    room.renew(Standing("earlier", since=1.0, ready=(ONE,)))
    assert not room.may_start(me, TWO, kept)  # its workers will give it back
    room.renew(Standing("earlier", since=1.0, ready=(FOUR,)))  # which no machine holds yet
    assert room.may_start(me, TWO, kept)
    room.renew(Standing("earlier", since=3.0, ready=(ONE,)))
    assert room.may_start(me, TWO, kept)


def test_concurrency_follows_a_cluster_from_nothing_and_back() -> None:
    room, flying, counts = Room(), (), []
    for machines in (0, 1, 3, 2):
        flying = flying[:machines]  # those of a machine that is gone have failed
        cluster = _cluster(*[1] * machines) if machines else Machines()
        while room.may_start(Standing("me", flying=flying), ONE, cluster):
            flying = (*flying, ONE)
        counts.append(len(flying))
    assert counts == [0, 1, 3, 2]


@pytest.mark.parametrize("low_is_older", [True, False])
def test_free_room_goes_to_the_higher_priority_first(low_is_older: bool) -> None:
    room = Room()
    low = Standing("low", since=1 if low_is_older else 3, ready=(ONE,))
    high = Standing("high", priority=1, since=2, ready=(TWO,))
    room.renew(low)
    room.renew(high)
    assert not room.may_start(low, ONE, _cluster(2))
    assert room.may_start(low, ONE, _cluster(3))
    assert room.may_start(high, TWO, _cluster(3))


def test_a_large_group_is_not_starved_by_small_ones_of_later_studies() -> None:
    room = Room()
    room.renew(Standing("large", since=1, ready=(FOUR,)))
    small = Standing("small", since=2, ready=(ONE,))
    assert not room.may_start(small, ONE, _cluster(4, taken=2))


def test_a_group_that_the_cluster_cannot_hold_yet_blocks_nobody() -> None:
    room = Room()
    room.renew(Standing("large", priority=9, ready=(FOUR,)))
    assert room.may_start(Standing("small", since=2, ready=(ONE,)), ONE, _cluster(2))


def test_two_studies_that_ask_for_all_of_it_take_turns() -> None:
    room, one, two = Room(), Standing("one", since=1, ready=(TWO,)), Standing("two", since=2, ready=(TWO,))
    room.renew(one)
    room.renew(two)
    assert not room.may_start(two, TWO, _cluster(2))
    assert room.may_start(one, TWO, _cluster(2))
    assert not room.may_start(two, TWO, _cluster(2, taken=2, one=(TWO,)))
    room.leave("one")
    assert room.may_start(two, TWO, _cluster(2))


def test_a_dead_study_holds_no_room_and_asks_for_nothing() -> None:
    now = [0.0]
    room = Room(clock=lambda: now[0])
    room.renew(Standing("dead", priority=1, flying=(ONE,), ready=(TWO,)))
    assert room.demand() == [{"CPU": 1.0}] * 3
    assert not room.may_start(Standing("me", since=1), ONE, _cluster(2))
    now[0] = LIFE_S + 1
    assert room.may_start(Standing("me", since=1), ONE, _cluster(2))
    assert room.demand() == [{"CPU": 1.0}]
