"""Reading a storage for analysis: the files of rows, and many files at a time."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from raystudy.segment_store import SegmentStore
from raystudy.store import Store

CONNECTIONS = 16
"""Files of an object store that are read at a time."""

Key = TypeVar("Key")
Answer = TypeVar("Answer")


class StorageReader:
    """Reads files below one root: a local folder, or an address such as ``s3://bucket/path``."""

    def __init__(self, root: str) -> None:
        """Raises ``StorageError`` when the root cannot be one of a storage."""
        self.store = Store.open_unchecked(root)
        self.root = self.store.location

    def read_json(self, path: str) -> dict[str, Any] | None:
        """The content of a JSON file; None when it is not there."""
        content: dict[str, Any] | None = self.store.files.read_json(path)
        return content

    def read_in(self, place: str | None, name: str) -> bytes | None:
        """A file of a published folder; None where there is no such folder or file."""
        return None if place is None else self.store.files.read_in(place, name)

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; empty when it is not there."""
        return self.store.files.names(folder)

    def segment(self, segment_id: str) -> SegmentStore:
        """What is kept of a segment."""
        return self.store.segment(segment_id)

    def rows_content(self, segment_id: str) -> tuple[bytes, str] | None:
        """The file with the final rows of a segment, and where it lies; None when there are none."""
        return self.segment(segment_id).rows_content(is_verified=False)

    def read_all(self, read: Callable[[Key], Answer], keys: Iterable[Key]) -> dict[Key, Answer]:
        """``read(key)`` of every key; several at a time where each has to come over the network."""
        listed = list(dict.fromkeys(keys))
        if self.store.files.is_local:
            return {key: read(key) for key in listed}
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            return dict(zip(listed, pool.map(read, listed), strict=True))
