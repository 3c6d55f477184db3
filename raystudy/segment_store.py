"""What is kept of one segment: attempts, checkpoints, rows, its end."""

import json
import logging
import os
import socket
import sys
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from raystudy.atomic import json_bytes, write_json
from raystudy.errors import CorruptCheckpointError, FencedError, StorageError
from raystudy.files import Files
from raystudy.lineage import Commit
from raystudy.records import Row, TrialState, rows_from_bytes, write_rows
from raystudy.segment_look import RESULT_FILE, SegmentLook, attempts

_ROWS = "rows.arrow"
LOGGER = logging.getLogger(__name__)


class SavesItself(Protocol):
    """Something that can write itself to a file."""

    def save(self, path: Path) -> None:
        """Write it."""
        ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """The process at work on a segment, and what it goes on from."""

    number: int
    start: int | None
    """Iteration of the segment's own checkpoint that it goes on from; None when there is none."""

    place: str | None
    """The published folder that holds it."""


class SegmentStore:
    """What is kept of one segment, in ``segments/<segment_id>/``.

    spec.json                             the segment, as it was first asked for
    attempts/<n>.json                     one a process that has worked on it; see raystudy.lineage
    checkpoints/<iteration>.<attempt>/    state and all rows of the segment so far; whole or not there
    matches/<iteration>.<attempt>/        what the final evaluation of a trial matched
    examples/<iteration>.<attempt>/       a few validation pictures and what it found in them (evaluation.examples)
    results/<iteration>.<attempt>/        how it ended: rows.arrow, result.json
    progress.json                         a view for people; never read back as truth

    and ``logs/<segment_id>.jsonl``, what happened, one event a line.

    Layout 1 had no numbers of attempts: ``checkpoints/<iteration>/``, ``rows.arrow`` and ``result.json`` are read.
    """

    def __init__(self, files: Files, segment_id: str) -> None:
        self.files = files
        self.segment_id = segment_id
        self.folder = f"segments/{segment_id}"

    def declare(self, segment: dict[str, Any]) -> None:
        """Keep the segment's spec."""
        if self.files.read(f"{self.folder}/spec.json") is None:
            self.files.write_json(f"{self.folder}/spec.json", segment)

    def begin_attempt(self, at_most: int = sys.maxsize) -> Attempt:
        """Register as the newest process at work on the segment, and fence off every older one.

        It goes on from the newest sound checkpoint at or before ``at_most``; a corrupt one is passed over.
        """
        while True:
            seen = self._look()
            number = seen.lineage.newest + 1
            start, place = self._newest_sound(seen, at_most) or (None, None)
            says = {
                "from": seen.kept_until(start or 0, at_most),
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "time": round(time.time()),
                "nonce": uuid.uuid4().hex,
            }
            if self.files.create(f"{self.folder}/attempts/{number}.json", json_bytes(says)):
                return Attempt(number, start, place)

    def newest_attempt(self) -> int:
        """Number of the newest attempt; 0 when there was none."""
        return max(attempts(self.files, self.folder), default=0)

    def check_fence(self, attempt: int) -> None:
        """Raise ``FencedError`` when a newer attempt owns the segment.

        This only ends a process early whose commits would not count any more (``raystudy.lineage``).
        """
        newest = self.newest_attempt()
        if newest != attempt:
            raise FencedError(f"segment {self.segment_id}: attempt {newest} has taken over from attempt {attempt}")

    def checkpoints(self) -> list[int]:
        """Iterations of the checkpoints that count, oldest first."""
        return [commit.iteration for commit in self._look().valid("checkpoints")]

    def commit(self, attempt: int, iteration: int, write_state: Callable[[Path], None], rows: Sequence[Row]) -> None:
        """Publish a checkpoint: the state that ``write_state`` saves into a folder, and all rows up to here.

        Raises:
            FencedError: a newer attempt owns the segment; nothing is published.
        """

        def fill(folder: Path) -> None:
            write_state(folder)
            write_rows(folder / _ROWS, rows)

        self._publish("checkpoints", attempt, iteration, fill)
        self.log("commit", attempt=attempt, iteration=iteration)

    def keep_matches(self, attempt: int, iteration: int, matches: Mapping[str, SavesItself]) -> None:
        """Keep a trial's final matches of detections and objects as ``<kind>.npz``.

        They are what confidence intervals are made of; kept before the checkpoint that makes the trial complete.
        """

        def fill(folder: Path) -> None:
            for kind, found in matches.items():
                found.save(folder / f"{kind}.npz")

        self._publish("matches", attempt, iteration, fill)

    def keep_examples(self, attempt: int, iteration: int, examples: SavesItself) -> None:
        """Keep a few pictures with what a trial's final evaluation found in them."""
        self._publish("examples", attempt, iteration, examples.save)

    def matches(self, iteration: int) -> str | None:
        """The published folder of the matches at an iteration; None when there is none."""
        return self._look().place("matches", iteration)

    def examples(self, iteration: int) -> str | None:
        """The published folder of the pictures, whose ``examples.json`` describes them; None when there is none."""
        return self._look().place("examples", iteration)

    def checkpoint(self, iteration: int) -> str:
        """The published folder of a checkpoint; raises ``CorruptCheckpointError`` when there is none."""
        place = self._look().place("checkpoints", iteration)
        if place is None:
            raise CorruptCheckpointError(f"segment {self.segment_id} has no checkpoint at iteration {iteration}")
        return place

    def load(self, iteration: int) -> Path:
        """A checkpoint as a folder of this machine, its checksums verified; raises ``CorruptCheckpointError``."""
        return self.files.fetch(self.checkpoint(iteration))

    def latest(self, at_most: int) -> tuple[int, str] | None:
        """Iteration and place of the newest sound checkpoint at or before ``at_most``; corrupt ones are passed over."""
        return self._newest_sound(self._look(), at_most)

    def has_checkpoint(self, iteration: int) -> bool:
        """Whether that checkpoint is whole, so that a fork can start from it."""
        return self._look().place("checkpoints", iteration) is not None

    def prune(self, keep: Collection[int], last: int = 2) -> None:
        """Delete checkpoints but those at ``keep`` and the ``last`` newest; also those that do not count."""
        seen = self._look()
        valid = seen.valid("checkpoints")
        spared = {*valid[-last:], *(commit for commit in valid if commit.iteration in keep)}
        for commit in seen.commits("checkpoints"):
            if commit not in spared:
                self.files.remove(seen.folder("checkpoints", commit))

    def finish(self, attempt: int, result: dict[str, Any], rows: Sequence[Row]) -> None:
        """Keep the rows and the result (``state``, ``iteration``, cost); may be extended by a longer run later."""

        def fill(folder: Path) -> None:
            write_rows(folder / _ROWS, rows)
            write_json(folder / RESULT_FILE, result)

        self._publish("results", attempt, int(result["iteration"]), fill)

    def result(self) -> dict[str, Any] | None:
        """How the segment ended; None while it has not."""
        found = self._look().ended()
        return None if found is None else found.content

    def is_done(self, end: int) -> bool:
        """Whether all iterations up to ``end`` are committed."""
        result = self.result()
        return result is not None and result["state"] == TrialState.COMPLETE and result["iteration"] >= end

    def committed_iteration(self) -> int:
        """Iterations that no crash can lose any more; 0 when there are none."""
        return self._look().reached()

    def rows(self) -> list[Row]:
        """All rows that are final so far."""
        found = self.rows_content()
        return [] if found is None else rows_from_bytes(*found)

    def rows_content(self, *, is_verified: bool = True) -> tuple[bytes, str] | None:
        """The Arrow file with all rows that are final so far, and where it was read; None when there are none.

        Args:
            is_verified: check it against its checksum, which takes longer than reading it.
        """
        for folder, is_published in self._look().rows_folders():
            path = f"{folder}/{_ROWS}"
            try:
                is_checked = is_published and (is_verified or not self.files.is_local)  # objects lie below another name
                content = self.files.read_in(folder, _ROWS) if is_checked else self.files.read(path)
            except CorruptCheckpointError:
                continue
            if content is not None:
                return content, f"{self.files.location}/{path}"
        return None

    def log(self, event: str, **details: Any) -> None:
        """Tell people and tests what happened, when, and to which attempt; what cannot be told is let go."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **details})
        try:
            self.files.append(f"logs/{self.segment_id}.jsonl", line)
        except StorageError as error:
            LOGGER.warning("segment %s: not logged: %s (%s)", self.segment_id, line, error)

    def read_log(self) -> list[dict[str, Any]]:
        """What was logged, oldest first."""
        lines = [*self.files.lines(f"{self.folder}/log.jsonl"), *self.files.lines(f"logs/{self.segment_id}.jsonl")]
        return [json.loads(line) for line in lines]

    def write_progress(self, progress: dict[str, Any]) -> None:
        """Tell people how far it is; a view that may be behind."""
        self.files.write_json(f"{self.folder}/progress.json", progress)

    def progress(self) -> dict[str, Any] | None:
        """What ``write_progress`` told last."""
        content: dict[str, Any] | None = self.files.read_json(f"{self.folder}/progress.json")
        return content

    def _publish(self, kind: str, attempt: int, iteration: int, fill: Callable[[Path], None]) -> None:
        folder = f"{self.folder}/{kind}/{Commit(iteration, attempt).name}"
        self.files.publish(folder, fill, allowed=lambda: self.check_fence(attempt))

    def _look(self) -> SegmentLook:
        return SegmentLook(self.files, self.folder)

    def _newest_sound(self, seen: SegmentLook, at_most: int) -> tuple[int, str] | None:
        for commit in reversed(seen.valid("checkpoints")):
            if commit.iteration > at_most:
                continue
            place = seen.folder("checkpoints", commit)
            try:
                self.files.fetch(place)
            except CorruptCheckpointError as error:
                self.log("corrupt", iteration=commit.iteration, error=str(error))
                continue
            return commit.iteration, place
        return None
