"""A study's storage: the only truth about what has been trained.

    STORAGE/raystudy.json                  marks the folder as ours, with the layout's version
    STORAGE/studies/<name>.json            a study: its spec and its trials by id
    STORAGE/weights/<weights_id>/          pre-trained weights with provenance.json
    STORAGE/segments/<segment_id>/         see SegmentStore
    STORAGE/trials/<trial_id>.json         a TrialRecord
    STORAGE/reports/<study>/               report.html and what belongs to it

Studies share everything below ``studies/``, so that one which asks for more extends what another has trained.
Ray's result files and Weights & Biases are views of this, never the other way round.
"""

import os
import shutil
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from raystudy import atomic
from raystudy.errors import CorruptCheckpointError, FencedError, StorageError
from raystudy.records import (
    Row,
    TrialRecord,
    TrialState,
    read_rows,
    record_from_dict,
    record_to_dict,
    write_rows,
)


class SavesItself(Protocol):
    """Something that can write itself to a file."""

    def save(self, path: Path) -> None:
        """Write it."""
        ...


LAYOUT_VERSION = 1
_MARKER = "raystudy.json"
_ROWS = "rows.arrow"


class Store:
    """A storage, opened. Cheap to make; holds no state but its root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def open(cls, location: str | Path, *, create: bool = False) -> "Store":
        """Open a storage; with ``create``, make it when the folder is empty or not there.

        Raises:
            StorageError: the folder holds something else, or another version's layout, or cannot be written.
        """
        text = str(location)
        if "://" in text and not text.startswith("file://"):
            scheme = text.split("://")[0]
            raise StorageError(f"storage {text}: {scheme}:// is not supported, only folders; give a shared folder")
        root = Path(text.removeprefix("file://")).expanduser().absolute()
        marker = root / _MARKER
        if marker.is_file():
            version = atomic.read_json(marker).get("layout")
            if version != LAYOUT_VERSION:
                raise StorageError(f"storage {root} has layout {version}, but this raystudy reads {LAYOUT_VERSION}")
            return cls(root)
        if not create:
            raise StorageError(f"storage {root} was not made by raystudy (it has no {_MARKER}); check the path")
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise StorageError(
                f"storage {root} is not empty and was not made by raystudy; give an empty or a new folder"
            )
        try:
            atomic.write_json(marker, {"layout": LAYOUT_VERSION})
        except OSError as error:
            raise StorageError(f"storage {root} cannot be written: {error.strerror or error}") from error
        return cls(root)

    # Studies

    def write_study(self, name: str, content: dict[str, Any]) -> None:
        """Keep a study under its name."""
        atomic.write_json(self.root / "studies" / f"{name}.json", content)

    def read_study(self, name: str) -> dict[str, Any]:
        """A study by name; raises ``StorageError`` with the names that there are."""
        path = self.root / "studies" / f"{name}.json"
        if not path.is_file():
            known = ", ".join(self.study_names()) or "none"
            raise StorageError(f"storage {self.root} has no study {name!r}; it has {known}")
        content: dict[str, Any] = atomic.read_json(path)
        return content

    def study_names(self) -> list[str]:
        """All studies of this storage."""
        return sorted(path.stem for path in (self.root / "studies").glob("*.json"))

    # Trials

    def write_trial(self, record: TrialRecord) -> None:
        """Keep a trial's record, replacing an older one."""
        atomic.write_json(self.root / "trials" / f"{record.trial_id}.json", record_to_dict(record))

    def read_trial(self, trial_id: str) -> TrialRecord | None:
        """A trial's record; None when nothing was kept of it yet."""
        path = self.root / "trials" / f"{trial_id}.json"
        return record_from_dict(atomic.read_json(path)) if path.is_file() else None

    def trials(self) -> list[TrialRecord]:
        """The records of all trials."""
        return [record_from_dict(atomic.read_json(path)) for path in sorted((self.root / "trials").glob("*.json"))]

    def is_complete(self, trial_id: str) -> bool:
        """Whether all of the trial's iterations are committed."""
        record = self.read_trial(trial_id)
        return record is not None and record.state == TrialState.COMPLETE

    def trial_rows(self, record: TrialRecord) -> list[Row]:
        """The whole curve of one trial so far: its trunk's rows up to the fork, then its own."""
        rows: list[Row] = []
        for ref in record.segments:
            segment_rows = self.segment(ref.segment_id).rows()
            rows += [row for row in segment_rows if ref.start < row.iteration <= ref.end]
        return rows

    # Everything else

    def segment(self, segment_id: str) -> "SegmentStore":
        """What is kept of one segment."""
        return SegmentStore(self.root / "segments" / segment_id)

    def weights_folder(self, weights_id: str) -> Path:
        """Where the pre-trained weights of that id lie, or will lie."""
        return self.root / "weights" / weights_id

    def has_weights(self, weights_id: str) -> bool:
        """Whether the weights are whole."""
        return (self.weights_folder(weights_id) / atomic.MANIFEST).is_file()

    def report_folder(self, study: str) -> Path:
        """Where the report of a study lies."""
        return self.root / "reports" / study


class SegmentStore:
    """What is kept of one segment.

    spec.json                   the segment, as it was first asked for
    attempts/<n>.json           one a process that has worked on it; only the newest may commit
    checkpoints/<iteration>/    state and all rows of the segment so far; whole or not there
    matches/<iteration>/        what the final evaluation of a trial matched
    rows.arrow, result.json     at the end, result.json last
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

    def keep_matches(self, attempt: int, iteration: int, matches: Mapping[str, SavesItself]) -> None:
        """Keep a trial's final matches of detections and objects as ``matches/<iteration>/<kind>.npz``.

        They are what confidence intervals are made of; kept before the checkpoint that makes the trial complete.
        """

        def fill(folder: Path) -> None:
            for kind, found in matches.items():
                found.save(folder / f"{kind}.npz")

        final = self.path / "matches" / str(iteration)
        atomic.publish_folder(final, fill, allowed=lambda: self.check_fence(attempt))

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
