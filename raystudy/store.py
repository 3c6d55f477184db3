"""A study's storage: the only truth about what has been trained.

    STORAGE/raystudy.json                  marks the place as ours, with the layout's version
    STORAGE/studies/<name>.json            a study: its spec and its trials by id
    STORAGE/weights/<weights_id>/          pre-trained weights with provenance.json
    STORAGE/segments/<segment_id>/         see SegmentStore
    STORAGE/logs/<segment_id>.jsonl        what happened to it
    STORAGE/trials/<trial_id>.json         a TrialRecord
    STORAGE/searches/<name>.json           a search: every trial that it suggested; <name>/ holds what follows from it
    STORAGE/evaluations/<trial_id>/        what its weights gave under other EvalSpecs; see raystudy.evaluations
    STORAGE/reports/<study>/               report.html and what belongs to it

A storage is a folder, of this machine or shared, or a place in an object store (``s3://``, ``gs://``); raystudy.files
reads and writes it. Studies share everything below ``studies/``, so that one which asks for more extends what another
has trained. Ray's result files and Weights & Biases are views of this, never the other way round.

Layout 2 gives every commit the number of the attempt that made it (raystudy.lineage). Storages of layout 1 are read as
they are, and become layout 2 when a study is run on them.
"""

from pathlib import Path
from typing import Any

from raystudy.errors import StorageError
from raystudy.files import Files, open_files, scratch
from raystudy.files.base import parsed
from raystudy.provenance import WeightsProvenance
from raystudy.records import Row, TrialRecord, TrialState, path_rows, record_from_dict, record_to_dict
from raystudy.search_records import SearchRecord
from raystudy.segment_store import SegmentStore

LAYOUT_VERSION = 2
READABLE_VERSIONS = (1, 2)
PROVENANCE_FILE = "provenance.json"
PROGRESS_FILE = "progress.json"
_MARKER = "raystudy.json"


class Store:
    """A storage, opened. Cheap to make; holds no state but where it is."""

    def __init__(self, files: Files) -> None:
        self.files = files

    @property
    def location(self) -> str:
        """Where it lies: a folder, or an address."""
        return self.files.location

    @classmethod
    def open(cls, location: str | Path, *, create: bool = False) -> "Store":
        """Open a storage; with ``create``, make it when there is nothing in the place yet.

        Raises:
            StorageError: the place holds something else, or another version's layout, or cannot be reached or written.
        """
        files = open_files(location)
        version = _layout(files)
        if version is None and not create:
            raise StorageError(
                f"storage {files.location} was not made by raystudy (it has no {_MARKER}); check the path"
            )
        if version is None:
            _check_room(files)
        if create and version != LAYOUT_VERSION:
            files.write_json(_MARKER, {"layout": LAYOUT_VERSION})
        return cls(files)

    @classmethod
    def open_unchecked(cls, location: str | Path) -> "Store":
        """A storage of which nothing is asked yet; raises ``StorageError`` for an address that cannot be one."""
        return cls(open_files(location))

    @staticmethod
    def check(location: str | Path) -> None:
        """Raise the ``StorageError`` that making or opening the storage would raise; makes nothing."""
        files = open_files(location)
        if _layout(files) is None:
            _check_room(files)
        files.check()

    # Studies

    def write_study(self, name: str, content: dict[str, Any]) -> None:
        """Keep a study under its name."""
        self.files.write_json(f"studies/{name}.json", content)

    def read_study(self, name: str) -> dict[str, Any]:
        """A study by name; raises ``StorageError`` with the names that there are."""
        content: dict[str, Any] | None = self.files.read_json(f"studies/{name}.json")
        if content is None:
            known = ", ".join(self.study_names()) or "none"
            raise StorageError(f"storage {self.location} has no study {name!r}; it has {known}")
        return content

    def study_names(self) -> list[str]:
        """All studies of this storage."""
        return self._names("studies")

    # Trials

    def write_trial(self, record: TrialRecord) -> None:
        """Keep a trial's record, replacing an older one."""
        self.files.write_json(f"trials/{record.trial_id}.json", record_to_dict(record))

    def read_trial(self, trial_id: str) -> TrialRecord | None:
        """A trial's record; None when nothing was kept of it yet."""
        content = self.files.read_json(f"trials/{trial_id}.json")
        return None if content is None else record_from_dict(content)

    def trials(self) -> list[TrialRecord]:
        """The records of all trials."""
        found = (self.read_trial(trial_id) for trial_id in self._names("trials"))
        return [record for record in found if record is not None]

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
        self.files.write_json(f"searches/{record.name}.json", record.to_dict())

    def read_search(self, name: str) -> SearchRecord | None:
        """A search by name; None when the storage has none of it."""
        content = self.files.read_json(f"searches/{name}.json")
        return None if content is None else SearchRecord.from_dict(content)

    def search_names(self) -> list[str]:
        """All searches of this storage."""
        return self._names("searches")

    def search_folder(self, name: str) -> Path:
        """A real folder for what follows from a search: Optuna's database, and its best trials as studies."""
        return self.scratch / "searches" / name

    # Everything else

    def segment(self, segment_id: str) -> SegmentStore:
        """What is kept of one segment."""
        return SegmentStore(self.files, segment_id)

    def segment_ids(self) -> list[str]:
        """All segments of which anything is kept."""
        return self.files.names("segments")

    @property
    def scratch(self) -> Path:
        """A real folder for what no object store can hold: the storage itself where it is a folder."""
        return scratch(self.location)

    def weights_place(self, weights_id: str) -> str:
        """The published folder of the pre-trained weights of that id."""
        return f"weights/{weights_id}"

    def has_weights(self, weights_id: str) -> bool:
        """Whether the weights are whole."""
        return self.files.is_published(self.weights_place(weights_id))

    def weights_folder(self, weights_id: str) -> Path:
        """The weights as a folder of this machine, checksums verified; raises ``CorruptCheckpointError``."""
        return self.files.fetch(self.weights_place(weights_id))

    def weights_provenance(self, weights_id: str) -> WeightsProvenance | None:
        """Where weights come from and what they have seen; None when the storage has none of that id."""
        content = self.files.read_in(self.weights_place(weights_id), PROVENANCE_FILE)
        if content is None:
            return None
        return WeightsProvenance.from_dict(parsed(content, f"{self.location}/{self.weights_place(weights_id)}"))

    def write_pretraining_progress(self, weights_id: str, progress: dict[str, Any]) -> None:
        """Tell people how far the pre-training of these weights is."""
        self.files.write_json(f"{work_place(weights_id)}/{PROGRESS_FILE}", progress)

    def pretraining_progress(self, weights_id: str) -> dict[str, Any] | None:
        """What ``write_pretraining_progress`` told last; None when no pre-training is under way."""
        content: dict[str, Any] | None = self.files.read_json(f"{work_place(weights_id)}/{PROGRESS_FILE}")
        return content

    def _names(self, folder: str) -> list[str]:
        """Of the JSON files in a folder."""
        return [name.removesuffix(".json") for name in self.files.names(folder) if name.endswith(".json")]


def work_place(weights_id: str) -> str:
    """Where pre-training keeps its checkpoint and progress until the weights are whole."""
    return f"weights/.{weights_id}.work"


def _layout(files: Files) -> int | None:
    """The version of the layout; None when the place is not ours."""
    marker = files.read_json(_MARKER)
    if marker is None:
        return None
    version = marker.get("layout")
    if version not in READABLE_VERSIONS:
        known = " and ".join(map(str, READABLE_VERSIONS))
        raise StorageError(f"storage {files.location} has layout {version}, but this raystudy reads {known}")
    return int(version)


def _check_room(files: Files) -> None:
    """Refuse a place that holds something else.

    Another process may be making the same storage: its marker comes before anything else, so that whoever sees more in
    the place sees the marker when it looks again.
    """
    place = files.local_path("")
    is_file = place is not None and place.exists() and not place.is_dir()
    if is_file or (files.names("") and _layout(files) is None):
        raise StorageError(
            f"storage {files.location} is not empty and was not made by raystudy; give an empty or a new folder"
        )
