"""What a segment's folder holds at one look, and what of it counts."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from raystudy.errors import CorruptCheckpointError
from raystudy.files import Files
from raystudy.files.base import parsed, published
from raystudy.lineage import Commit, Lineage
from raystudy.records import TrialState

RESULT_FILE = "result.json"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a segment ended."""

    commit: Commit
    folder: str
    is_published: bool
    """False for what layout 1 kept."""

    content: dict[str, Any]

    @property
    def is_complete(self) -> bool:
        """Whether it reached the end that it was asked for."""
        return bool(self.content.get("state", TrialState.COMPLETE) == TrialState.COMPLETE)


class SegmentLook:
    """One look at a segment."""

    def __init__(self, files: Files, folder: str) -> None:
        self._files, self._folder = files, folder
        # What was committed is listed before the attempts: whoever is not among these has committed nothing of it.
        self._paths = frozenset(files.tree(folder))
        self.lineage = Lineage(attempts(files, folder), self._begun_at)

    def commits(self, kind: str) -> list[Commit]:
        """Everything whole of a kind: ``checkpoints``, ``matches``, ``examples`` or ``results``."""
        return [commit for name in published(self._paths, kind) if (commit := Commit.parse(name)) is not None]

    def valid(self, kind: str) -> list[Commit]:
        """Those that count, oldest first."""
        return self.lineage.valid(self.commits(kind))

    def place(self, kind: str, iteration: int) -> str | None:
        """The folder of what counts of a kind at an iteration; None when there is nothing."""
        found = [commit for commit in self.valid(kind) if commit.iteration == iteration]
        return self.folder(kind, found[0]) if found else None

    def folder(self, kind: str, commit: Commit) -> str:
        """Where a commit lies."""
        return f"{self._folder}/{kind}/{commit.name}"

    def reached(self) -> int:
        """Iterations that are committed; 0 when there are none."""
        ended = self.ended()
        iterations = [commit.iteration for commit in self.valid("checkpoints")]
        return max([*iterations, 0 if ended is None else ended.commit.iteration], default=0)

    def ended(self) -> Ended | None:
        """The newest sound result that counts; one that is not complete counts until it is tried again."""
        found = (self._result(commit) for commit in reversed(self.valid("results")))
        return next((ended for ended in found if ended is not None), None) or self._result_of_layout_1()

    def kept_until(self, start: int, at_most: int) -> int:
        """Beyond which iteration nothing counts that older attempts commit once another begins at ``start``.

        What is there now stays: a complete result, and checkpoints beyond the end that is asked for this time.
        """
        ended = self.ended()
        beyond = [commit.iteration for commit in self.valid("checkpoints") if commit.iteration > at_most]
        return max([start, *beyond, ended.commit.iteration if ended is not None and ended.is_complete else 0])

    def rows_folders(self) -> list[tuple[str, bool]]:
        """Where final rows lie, and whether the folder is a published one: the longest first, then to fall back on."""
        found = [(c.iteration, self.folder("checkpoints", c), True) for c in self.valid("checkpoints")]
        results = self.valid("results")
        if results and results[-1].attempt == self.lineage.newest:  # no later one supersedes it
            found.append((results[-1].iteration, self.folder("results", results[-1]), True))
        elif (ended := self.ended()) is not None:
            found.append((ended.commit.iteration, ended.folder, ended.is_published))
        found.sort(key=lambda item: item[0])  # at the same iteration the result is last, and is read
        return [(folder, is_published) for _, folder, is_published in reversed(found)]

    def _result(self, commit: Commit) -> Ended | None:
        folder = self.folder("results", commit)
        try:
            content = self._files.read_in(folder, RESULT_FILE)
        except CorruptCheckpointError:
            return None
        if content is None:
            return None
        ended = Ended(commit, folder, True, parsed(content, f"{self._files.location}/{folder}"))
        return None if self._is_superseded(ended) else ended

    def _result_of_layout_1(self) -> Ended | None:
        content = self._files.read_json(f"{self._folder}/{RESULT_FILE}") if RESULT_FILE in self._paths else None
        if content is None:
            return None
        ended = Ended(Commit(int(content["iteration"]), 0), self._folder, False, content)
        return ended if self.lineage.counts(ended.commit) and not self._is_superseded(ended) else None

    def _is_superseded(self, ended: Ended) -> bool:
        later = (attempt for attempt in self.lineage.attempts if attempt > ended.commit.attempt)
        return not ended.is_complete and any(self._begun_at(attempt) is not None for attempt in later)

    def _begun_at(self, attempt: int) -> int | None:
        says = self._files.read_json(f"{self._folder}/attempts/{attempt}.json") or {}
        return None if says.get("from") is None else int(says["from"])


def attempts(files: Files, folder: str) -> list[int]:
    """Numbers of the attempts that have begun on a segment."""
    return list(_numbers(files.names(f"{folder}/attempts")))


def _numbers(names: Iterable[str]) -> Iterable[int]:
    stems = (name.removesuffix(".json") for name in names)
    return (int(stem) for stem in stems if stem.isdecimal())
