"""Nodes of a plan that are at work, and how often those that failed may try again."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from raystudy.cluster.events import tell
from raystudy.cluster.room import Group

DELAYS_S = (1.0, 4.0, 16.0)
"""Before the second, third and fourth attempt; whoever fails at once costs no hot loop."""


MOST_LOSSES = 20
"""How often a node may end before it has begun: that is not its own failure, yet nothing goes on for ever."""


@dataclass(slots=True)
class _Failures:
    count: int
    progress: int
    not_before: float


class Flights:
    """What one study has handed out.

    A node that fails ``len(DELAYS_S) + 1`` times in a row is given up. One that has got further since it failed last
    starts counting anew, so that no number of machines taken away ends a trial that advances.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._flying: dict[str, tuple[str, Group]] = {}
        self._failures: dict[str, _Failures] = {}
        self._losses: Counter[str] = Counter()

    def begin(self, trial_id: str, node_id: str, group: Group) -> None:
        """A node starts, as this trial of Tune's."""
        self._flying[trial_id] = (node_id, group)
        tell("start", node=node_id, workers=group.workers, side_by_side=len(self._flying))

    def end(self, trial_id: str) -> str:
        """A trial of Tune's has ended; its node."""
        node_id, _ = self._flying.pop(trial_id)
        tell("end", node=node_id)
        return node_id

    @property
    def trials(self) -> set[str]:
        """Tune's ids of the trials at work."""
        return set(self._flying)

    @property
    def nodes(self) -> set[str]:
        """Ids of the nodes at work."""
        return {node_id for node_id, _ in self._flying.values()}

    @property
    def groups(self) -> list[Group]:
        """What they take."""
        return [group for _, group in self._flying.values()]

    def fail(self, node_id: str, progress: int) -> bool:
        """A node has failed, with ``progress`` iterations kept; whether it may try again."""
        known = self._failures.get(node_id)
        count = 1 if known is None or progress > known.progress else known.count + 1
        delay = DELAYS_S[min(count, len(DELAYS_S)) - 1]
        self._failures[node_id] = _Failures(count, progress, self._clock() + delay)
        if count > len(DELAYS_S):
            tell("given up", node=node_id, in_a_row=count)
            return False
        tell("failure", node=node_id, in_a_row=count, again_in_s=delay)
        return True

    def lose(self, node_id: str) -> bool:
        """A node has ended before it began, by no fault of its own; whether it may try again, which is at once."""
        self._losses[node_id] += 1
        tell("lost", node=node_id, times=self._losses[node_id])
        return self._losses[node_id] <= MOST_LOSSES

    def failures(self, node_id: str) -> int:
        """How often it failed in a row."""
        known = self._failures.get(node_id)
        return 0 if known is None else known.count

    def may_try(self, node_id: str) -> bool:
        """Whether its delay after a failure is over."""
        known = self._failures.get(node_id)
        return known is None or self._clock() >= known.not_before
