"""Which of a segment's commits count: those of one line of attempts, decided by what attempts say when they begin.

An attempt says, in a file that only one process can make, from which iteration it goes on. From then on, nothing counts
that an older attempt commits beyond that iteration, whenever it arrives. So a node that was cut off and goes on
writing changes nothing that its successor has done: no clock, no lock, and no moment between a check and a write.

    attempts/1.json  {"from": 0}
    attempts/2.json  {"from": 20}     checkpoints/10.1 and 20.1 count, 30.1 does not, 30.2 does
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Commit:
    """What one attempt has committed at one iteration."""

    iteration: int
    attempt: int
    """0 for what was kept before commits bore their attempt's number (layout 1)."""

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.iteration}.{self.attempt}" if self.attempt else str(self.iteration)

    @classmethod
    def parse(cls, name: str) -> "Commit | None":
        """The inverse of ``name``; None for any other."""
        iteration, _, attempt = name.partition(".")
        if not iteration.isdecimal() or (attempt and not attempt.isdecimal()):
            return None
        return cls(int(iteration), int(attempt or 0))


class Lineage:
    """The attempts of a segment as they were listed, after what they committed was."""

    def __init__(self, attempts: Iterable[int], begun_at: Callable[[int], int | None]) -> None:
        """Of the attempts' numbers.

        Args:
            attempts: that have begun.
            begun_at: the iteration that an attempt said it goes on from; None where it did not say. Only asked when
                something older is there.
        """
        self.attempts = sorted(attempts)
        self._begun_at = begun_at
        self._limits: dict[int, int | None] = {}

    @property
    def newest(self) -> int:
        """Number of the newest attempt; 0 when there was none."""
        return self.attempts[-1] if self.attempts else 0

    def counts(self, commit: Commit) -> bool:
        """Whether no later attempt has begun before that iteration."""
        if commit.attempt and commit.attempt not in self.attempts:
            return False
        limits = (self._limit(attempt) for attempt in self.attempts if attempt > commit.attempt)
        return all(limit is None or commit.iteration <= limit for limit in limits)

    def valid(self, commits: Iterable[Commit]) -> list[Commit]:
        """Those that count, one an iteration (the newest attempt's), oldest first."""
        found = {commit.iteration: commit for commit in sorted(commits) if self.counts(commit)}
        return [found[iteration] for iteration in sorted(found)]

    def _limit(self, attempt: int) -> int | None:
        if attempt not in self._limits:
            self._limits[attempt] = self._begun_at(attempt)
        return self._limits[attempt]
