"""CPU time of variants of the same work, in turns within one process."""

import gc
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

Clock = Callable[[], float]
Work = Callable[[], Any]

ROUNDS_SHORT, ROUNDS, ROUNDS_LONG = 8, 5, 3
"""Of work under a second, between, and over ten seconds a side."""


def take_turns(
    ours: Work, peer: Work, *, quick: bool = False, warm_ups: int = 1, clock: Clock = time.process_time
) -> tuple[list[float], list[float]]:
    """Seconds of each round of ``ours`` and of ``peer``, as ``in_turns`` takes them."""
    own, other = in_turns((ours, peer), quick=quick, warm_ups=warm_ups, clock=clock)
    return own, other


def in_turns(
    works: Sequence[Work], *, quick: bool = False, warm_ups: int = 1, clock: Clock = time.process_time
) -> list[list[float]]:
    """Seconds of each round of every one of ``works``.

    Who begins changes from round to round (A B B A), so that a drifting machine favours none. The slowest side's first
    round decides how many there are: 8 of work under a second, 3 of work over ten.

    Args:
        works: of each side; their results are thrown away.
        quick: one round is enough.
        warm_ups: rounds before that are not counted; none of work over ten seconds, whose first round is counted.
        clock: what is counted; ``tree_seconds`` counts child processes too.
    """
    seconds: list[list[float]] = [[] for _ in works]
    slowest, done = 0.0, 0
    skipped = 0 if quick else warm_ups
    while done < skipped + (1 if quick else rounds_for(slowest)):
        sides = list(enumerate(works))
        for side, work in sides if done % 2 == 0 else reversed(sides):
            taken = seconds_of(work, clock)
            slowest = max(slowest, taken) if done == 0 else slowest
            seconds[side].append(taken)
        done += 1
        if slowest > 10:
            skipped = 0
    return [taken[skipped:] for taken in seconds]


def rounds_for(seconds: float) -> int:
    """How many rounds work of so many seconds gets."""
    return ROUNDS_SHORT if seconds < 1 else ROUNDS if seconds <= 10 else ROUNDS_LONG


def seconds_of(work: Work, clock: Clock = time.process_time) -> float:
    """Seconds of one call, without the collection of garbage that was there before."""
    gc.collect()
    before = clock()
    work()
    return clock() - before


def tree_seconds() -> float:
    """CPU time of this process and of all its descendants that have ended and were waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
