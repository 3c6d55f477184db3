"""A study's storage: the only truth about what has been trained.

    STORAGE/raystudy.json                  marks the folder as ours, with the layout's version
    STORAGE/studies/<name>.json            a study: its spec and its trials by id
    STORAGE/weights/<weights_id>/          pre-trained weights with provenance.json
    STORAGE/segments/<segment_id>/         see SegmentStore
    STORAGE/trials/<trial_id>.json         a TrialRecord
    STORAGE/searches/<name>.json           a search: every trial that it suggested; <name>/ holds what follows from it
    STORAGE/evaluations/<trial_id>/        what its weights gave under other EvalSpecs; see raystudy.evaluations
    STORAGE/reports/<study>/               report.html and what belongs to it

Studies share everything below ``studies/``, so that one which asks for more extends what another has trained.
Ray's result files and Weights & Biases are views of this, never the other way round.
"""

import os
from pathlib import Path
from typing import Any

from raystudy import atomic
from raystudy.errors import StorageError
from raystudy.provenance import WeightsProvenance
from raystudy.records import Row, TrialRecord, TrialState, path_rows, record_from_dict, record_to_dict
from raystudy.search_records import SearchRecord
from raystudy.segment_store import SegmentStore

LAYOUT_VERSION = 1
PROVENANCE_FILE = "provenance.json"
PROGRESS_FILE = "progress.json"
_MARKER = "raystudy.json"


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
        root, is_ours = _examined(location)
        if is_ours:
            return cls(root)
        if not create:
            raise StorageError(f"storage {root} was not made by raystudy (it has no {_MARKER}); check the path")
        _check_room(root)
        try:
            atomic.write_json(root / _MARKER, {"layout": LAYOUT_VERSION})
        except OSError as error:
            raise StorageError(f"storage {root} cannot be written: {error.strerror or error}") from error
        return cls(root)

    @staticmethod
    def check(location: str | Path) -> None:
        """Raise the ``StorageError`` that making or opening the storage would raise; makes nothing."""
        root, is_ours = _examined(location)
        if not is_ours:
            _check_room(root)
        nearest = next(path for path in (root, *root.parents) if path.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            reason = "may not be written to" if nearest.is_dir() else "is a file"
            raise StorageError(f"storage {root} cannot be written: {nearest} {reason}")

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
        return path_rows(record.segments, lambda segment_id: self.segment(segment_id).rows())

    # Searches

    def write_search(self, record: SearchRecord) -> None:
        """Keep a search under its name."""
        atomic.write_json(self.root / "searches" / f"{record.name}.json", record.to_dict())

    def read_search(self, name: str) -> SearchRecord | None:
        """A search by name; None when the storage has none of it."""
        path = self.root / "searches" / f"{name}.json"
        return SearchRecord.from_dict(atomic.read_json(path)) if path.is_file() else None

    def search_names(self) -> list[str]:
        """All searches of this storage."""
        return sorted(path.stem for path in (self.root / "searches").glob("*.json"))

    def search_folder(self, name: str) -> Path:
        """Where what follows from a search lies: Optuna's database, and its best trials as studies."""
        return self.root / "searches" / name

    # Everything else

    def segment(self, segment_id: str) -> SegmentStore:
        """What is kept of one segment."""
        return SegmentStore(self.root / "segments" / segment_id)

    def weights_folder(self, weights_id: str) -> Path:
        """Where the pre-trained weights of that id lie, or will lie."""
        return self.root / "weights" / weights_id

    def has_weights(self, weights_id: str) -> bool:
        """Whether the weights are whole."""
        return (self.weights_folder(weights_id) / atomic.MANIFEST).is_file()

    def weights_provenance(self, weights_id: str) -> WeightsProvenance | None:
        """Where weights come from and what they have seen; None when the storage has none of that id."""
        if not self.has_weights(weights_id):
            return None
        return WeightsProvenance.from_dict(atomic.read_json(self.weights_folder(weights_id) / PROVENANCE_FILE))

    def weights_work_folder(self, weights_id: str) -> Path:
        """Where pre-training keeps its checkpoint and progress until the weights are whole."""
        return self.root / "weights" / f".{weights_id}.work"

    def pretraining_progress(self, weights_id: str) -> dict[str, Any] | None:
        """How far the pre-training of these weights is, for people; None when it is not under way."""
        path = self.weights_work_folder(weights_id) / PROGRESS_FILE
        try:
            content: dict[str, Any] = atomic.read_json(path)
        except FileNotFoundError:
            return None
        return content

    def report_folder(self, study: str) -> Path:
        """Where the report of a study lies."""
        return self.root / "reports" / study


def _examined(location: str | Path) -> tuple[Path, bool]:
    """Where the storage lies, and whether there is one of ours."""
    text = str(location)
    if "://" in text and not text.startswith("file://"):
        scheme = text.split("://")[0]
        raise StorageError(f"storage {text}: {scheme}:// is not supported, only folders; give a shared folder")
    root = Path(text.removeprefix("file://")).expanduser().absolute()
    marker = root / _MARKER
    if not marker.is_file():
        return root, False
    version = atomic.read_json(marker).get("layout")
    if version != LAYOUT_VERSION:
        raise StorageError(f"storage {root} has layout {version}, but this raystudy reads {LAYOUT_VERSION}")
    return root, True


def _check_room(root: Path) -> None:
    """Refuse a folder that holds something else.

    Another process may be making the same storage: its marker comes before anything else, so that whoever sees more in
    the folder sees the marker when it looks again.
    """
    is_taken = root.exists() and (not root.is_dir() or any(_MARKER not in path.name for path in root.iterdir()))
    if is_taken and not (root / _MARKER).is_file():
        raise StorageError(f"storage {root} is not empty and was not made by raystudy; give an empty or a new folder")
