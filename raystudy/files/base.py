"""What every kind of storage can do with files."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from raystudy.atomic import MANIFEST, json_bytes, nothing_forbids, parsed_manifest
from raystudy.errors import CorruptCheckpointError, StorageError


def checked(path: str) -> str:
    """A path that stays within the storage.

    Raises:
        StorageError: it is absolute, or leads elsewhere.
    """
    parts = path.split("/")
    if not path or "\\" in path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise StorageError(f"{path!r} is no path within a storage; names have no '..', no '\\' and no '/' at an end")
    return path


class Files(ABC):
    """Reads and writes files below one place; paths are relative to it, with ``/``.

    Every method raises ``StorageError``, which names the place and the cause, when the storage cannot do it, also after
    it has tried for a while. Names that begin with a dot are hidden from every listing.
    """

    location: str
    """As people write it."""

    is_local: bool
    """Whether paths are files that any program of this machine can open."""

    @abstractmethod
    def check(self) -> None:
        """Raise ``StorageError`` when nothing can be written here; writes nothing where that can be known without."""

    @abstractmethod
    def read(self, path: str) -> bytes | None:
        """The content of a file; None when it is not there."""

    @abstractmethod
    def write(self, path: str, content: bytes) -> None:
        """Make or replace a file in one motion."""

    @abstractmethod
    def create(self, path: str, content: bytes) -> bool:
        """Make a file, whole, unless there is one: of several that try, exactly one is told True.

        Equal content counts as one's own, so that a lost answer does no harm: let it say who writes.
        """

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Of the files and folders in a folder, sorted; "" is the place itself."""

    @abstractmethod
    def tree(self, folder: str) -> list[str]:
        """Paths of all files below a folder, relative to it, sorted."""

    @abstractmethod
    def size(self, folder: str) -> int:
        """Bytes of all files below a folder, hidden ones included."""

    @abstractmethod
    def remove(self, path: str) -> None:
        """Delete a file, or a folder with all that is in it; nothing when it is not there."""

    @abstractmethod
    def sweep(self, older_than_s: float) -> None:
        """Delete what processes have left half-written that died, where it is that old."""

    @abstractmethod
    def append(self, path: str, line: str) -> None:
        """Add a line to a log that several processes write."""

    @abstractmethod
    def lines(self, path: str) -> list[str]:
        """What was added to a log."""

    @abstractmethod
    def publish(
        self,
        folder: str,
        fill: Callable[[Path], None],
        *,
        allowed: Callable[[], None] = nothing_forbids,
        exclusive: bool = False,
    ) -> bool:
        """Make a folder that is whole or not there.

        Args:
            folder: replaced when there is one, unless ``exclusive``.
            fill: writes the files into an empty folder of this machine; may be called again when the storage fails.
            allowed: called just before the folder becomes visible; raises when it must not (a fence).
            exclusive: leave a folder alone that is there already.

        Returns:
            Whether it was made: False when another was there.
        """

    @abstractmethod
    def fetch(self, folder: str) -> Path:
        """A folder of this machine with the files of a published one, checksums verified; not to be written to.

        Raises:
            CorruptCheckpointError: there is none, or its files are not those that were published.
        """

    @abstractmethod
    def local_path(self, path: str) -> Path | None:
        """Where this machine can open a file or folder; None in an object store."""

    def read_json(self, path: str) -> Any:
        """The content of a JSON file; None when it is not there."""
        content = self.read(path)
        return None if content is None else parsed(content, f"{self.location}/{path}")

    def write_json(self, path: str, content: Any) -> None:
        """Make or replace a JSON file in one motion."""
        self.write(path, json_bytes(content))

    def upload(self, source: Path, folder: str) -> None:
        """Write every file of a local folder, hidden ones apart, to a folder of the storage, if it is another one."""
        if self.local_path(folder) == source:
            return
        for path in sorted(source.rglob("*")):
            name = path.relative_to(source).as_posix()
            if path.is_file() and not any(part.startswith(".") for part in name.split("/")):
                self.write(f"{folder}/{name}", path.read_bytes())

    def is_published(self, folder: str) -> bool:
        """Whether a folder is whole."""
        return self.read(f"{folder}/{MANIFEST}") is not None

    def read_in(self, folder: str, name: str) -> bytes | None:
        """One file of a published folder, its checksum verified; None when there is no such folder or file in it.

        Raises:
            CorruptCheckpointError: the file is missing or differs from what was published.
        """
        for _ in range(3):  # the folder may be replaced while it is read
            manifest = self.read(f"{folder}/{MANIFEST}")
            if manifest is None:
                return None
            sums, at = parsed_manifest(manifest, f"{self.location}/{folder}")
            if name not in sums:
                return None
            content = self.read("/".join([folder, *at, name]))
            if content is not None and hashlib.sha256(content).hexdigest() == sums[name]:
                return content
            if self.read(f"{folder}/{MANIFEST}") == manifest:
                break
        raise CorruptCheckpointError(f"{self.location}/{folder}: {name} is missing or differs from its checksum")


def published(paths: Iterable[str], folder: str) -> list[str]:
    """Names of the published folders in ``folder``, of the paths that ``Files.tree`` lists."""
    start, found = f"{folder}/", []
    for path in paths:
        if path.startswith(start) and path.endswith(f"/{MANIFEST}"):
            name = path[len(start) : -len(MANIFEST) - 1]
            if "/" not in name:
                found.append(name)
    return found


def parsed(content: bytes, place: str) -> Any:
    """What a JSON file holds; raises ``StorageError`` that names it."""
    try:
        return json.loads(content)
    except ValueError as error:
        raise StorageError(f"{place} is not readable as JSON ({error}); it was not written by raystudy") from error
