"""What is kept of one segment: attempts, checkpoints, rows, its end."""

import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from raystudy import atomic
from raystudy.errors import CorruptCheckpointError, FencedError
from raystudy.records import Row, TrialState, read_rows, write_rows

_ROWS = "rows.arrow"


class SavesItself(Protocol):
    """Something that can write itself to a file."""

    def save(self, path: Path) -> None:
        """Write it."""
        ...


class SegmentStore:
    """What is kept of one segment.

    spec.json                   the segment, as it was first asked for
    attempts/<n>.json           one a process that has worked on it; only the newest may commit
    checkpoints/<iteration>/    state and all rows of the segment so far; whole or not there
    matches/<iteration>/        what the final evaluation of a trial matched
    examples/<iteration>/       a few validation pictures and what it found in them (raystudy.evaluation.examples)
    rows.arrow, result.json     at the end, result.json last
    log.jsonl                   what happened, one event a line
    progress.json               a view for people; never read back as truth
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.segment_id = path.name

    def declare(self, segment: dict[str, Any]) -> None:
        """Keep the segment's spec."""
        if not (self.path / "spec.json").is_file():
            atomic.write_json(self.path / "spec.json", segment)

    def begin_attempt(self) -> int:
        """Register as the newest process at work on the segment, and fence off every older one."""
        folder = self.path / "attempts"
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            attempt = self.newest_attempt() + 1
            try:
                descriptor = os.open(folder / f"{attempt}.json", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                continue
            with os.fdopen(descriptor, "w") as stream:
                stream.write(f'{{"host": "{socket.gethostname()}", "pid": {os.getpid()}, "time": {time.time():.0f}}}\n')
            return attempt

    def newest_attempt(self) -> int:
        """Number of the newest attempt; 0 when there was none."""
        numbers = [int(path.stem) for path in (self.path / "attempts").glob("*.json") if path.stem.isdigit()]
        return max(numbers, default=0)

    def check_fence(self, attempt: int) -> None:
        """Raise ``FencedError`` when a newer attempt owns the segment."""
        newest = self.newest_attempt()
        if newest != attempt:
            raise FencedError(f"segment {self.segment_id}: attempt {newest} has taken over from attempt {attempt}")

    def checkpoints(self) -> list[int]:
        """Iterations of the checkpoints that are whole, oldest first."""
        folder = self.path / "checkpoints"
        return sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit()) if folder.is_dir() else []

    def commit(self, attempt: int, iteration: int, write_state: Callable[[Path], None], rows: Sequence[Row]) -> None:
        """Publish a checkpoint: the state that ``write_state`` saves into a folder, and all rows up to here.

        Raises:
            FencedError: a newer attempt owns the segment; nothing is published.
        """

        def fill(folder: Path) -> None:
            write_state(folder)
            write_rows(folder / _ROWS, rows)

        atomic.publish_folder(self._checkpoint(iteration), fill, allowed=lambda: self.check_fence(attempt))
        self.log("commit", attempt=attempt, iteration=iteration)

    def keep_matches(self, attempt: int, iteration: int, matches: Mapping[str, SavesItself]) -> None:
        """Keep a trial's final matches of detections and objects as ``matches/<iteration>/<kind>.npz``.

        They are what confidence intervals are made of; kept before the checkpoint that makes the trial complete.
        """

        def fill(folder: Path) -> None:
            for kind, found in matches.items():
                found.save(folder / f"{kind}.npz")

        final = self.path / "matches" / str(iteration)
        atomic.publish_folder(final, fill, allowed=lambda: self.check_fence(attempt))

    def keep_examples(self, attempt: int, iteration: int, examples: SavesItself) -> None:
        """Keep a few pictures with what a trial's final evaluation found in them as ``examples/<iteration>/``."""
        final = self.path / "examples" / str(iteration)
        atomic.publish_folder(final, examples.save, allowed=lambda: self.check_fence(attempt))

    def examples(self, iteration: int) -> tuple[Path, dict[str, Any]] | None:
        """The folder of the pictures and the content of its ``examples.json``; None when there is none."""
        folder = self.path / "examples" / str(iteration)
        if not (folder / "examples.json").is_file():
            return None
        content: dict[str, Any] = atomic.read_json(folder / "examples.json")
        return folder, content

    def load(self, iteration: int) -> Path:
        """The folder of a checkpoint, its checksums verified; raises ``CorruptCheckpointError``."""
        folder = self._checkpoint(iteration)
        atomic.verify_folder(folder)
        return folder

    def latest(self, at_most: int) -> tuple[int, Path] | None:
        """The newest sound checkpoint at or before ``at_most``; a corrupt one is passed over."""
        for iteration in reversed(self.checkpoints()):
            if iteration > at_most:
                continue
            try:
                return iteration, self.load(iteration)
            except CorruptCheckpointError:
                continue
        return None

    def has_checkpoint(self, iteration: int) -> bool:
        """Whether that checkpoint is whole, so that a fork can start from it."""
        return self._checkpoint(iteration).is_dir()

    def prune(self, keep: Collection[int], last: int = 2) -> None:
        """Delete checkpoints but those at ``keep`` and the ``last`` newest."""
        committed = self.checkpoints()
        for iteration in set(committed) - set(keep) - set(committed[-last:]):
            shutil.rmtree(self._checkpoint(iteration), ignore_errors=True)

    def finish(self, attempt: int, result: dict[str, Any], rows: Sequence[Row]) -> None:
        """Keep the rows and the result (``state``, ``iteration``, cost); may be extended by a longer run later."""
        self.check_fence(attempt)
        temporary = self.path / f".{_ROWS}.{os.getpid()}.tmp"
        write_rows(temporary, rows)
        os.replace(temporary, self.path / _ROWS)
        atomic.write_json(self.path / "result.json", result)

    def result(self) -> dict[str, Any] | None:
        """How the segment ended; None while it has not."""
        path = self.path / "result.json"
        if not path.is_file():
            return None
        content: dict[str, Any] = atomic.read_json(path)
        return content

    def is_done(self, end: int) -> bool:
        """Whether all iterations up to ``end`` are committed."""
        result = self.result()
        return result is not None and result["state"] == TrialState.COMPLETE and result["iteration"] >= end

    def committed_iteration(self) -> int:
        """Iterations that no crash can lose any more; 0 when there are none."""
        result = self.result()
        return max([*self.checkpoints(), 0 if result is None else int(result["iteration"])], default=0)

    def rows(self) -> list[Row]:
        """All rows that are final so far."""
        result, committed = self.result(), self.checkpoints()
        if result is not None and result["iteration"] >= max(committed, default=0):
            return read_rows(self.path / _ROWS)
        return read_rows(self._checkpoint(committed[-1]) / _ROWS) if committed else []

    def log(self, event: str, **details: Any) -> None:
        """Append one event to ``log.jsonl``: what happened, when, and to which attempt. For people and tests."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **details})
        with open(self.path / "log.jsonl", "a") as stream:  # one write of one line: whole even between processes
            stream.write(line + "\n")

    def write_progress(self, progress: dict[str, Any]) -> None:
        """Tell people how far it is; a view that may be behind."""
        atomic.write_json(self.path / "progress.json", progress)

    def progress(self) -> dict[str, Any] | None:
        """What ``write_progress`` told last."""
        path = self.path / "progress.json"
        if not path.is_file():
            return None
        content: dict[str, Any] = atomic.read_json(path)
        return content

    def _checkpoint(self, iteration: int) -> Path:
        return self.path / "checkpoints" / str(iteration)
