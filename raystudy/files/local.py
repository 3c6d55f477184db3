"""A storage that is a folder: of this machine, or of a file system that several machines share (NFS)."""

import errno
import os
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from raystudy import atomic
from raystudy.atomic import MANIFEST, nothing_forbids
from raystudy.errors import StorageError
from raystudy.files.base import Files, checked
from raystudy.files.patience import patience_s, tried

Answer = TypeVar("Answer")

_FULL = (errno.ENOSPC, errno.EDQUOT)
_MAY_PASS = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EREMOTEIO, errno.ENOTCONN, errno.EHOSTDOWN)
"""What a shared file system says while its server is away."""


class LocalFiles(Files):
    """A folder."""

    is_local = True

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = str(root)

    def check(self) -> None:
        """The folder, or the nearest one above it, can be written to."""
        nearest = next(path for path in (self.root, *self.root.parents) if path.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            reason = "may not be written to" if nearest.is_dir() else "is a file"
            raise StorageError(f"storage {self.location} cannot be written: {nearest} {reason}")

    def read(self, path: str) -> bytes | None:
        """Waits while a server is away."""
        place = f"{self.location}/{checked(path)}"  # text: a Path takes longer than the file

        def read() -> bytes | None:
            try:
                with open(place, "rb", buffering=0) as stream:
                    return stream.readall()
            except (FileNotFoundError, NotADirectoryError):
                return None

        return self._tried("read", path, read)

    def write(self, path: str, content: bytes) -> None:
        """Renamed into place."""
        place = self._place(path)
        self._tried("written", path, lambda: atomic.write_bytes(place, content))

    def create(self, path: str, content: bytes) -> bool:
        """Written beside its place and linked there, which only one can do."""
        place = self._place(path)

        def create() -> bool:
            place.parent.mkdir(parents=True, exist_ok=True)
            hidden = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.tmp")
            try:
                atomic.write_bytes(hidden, content)
                os.link(hidden, place)
            except FileExistsError:
                return place.read_bytes() == content
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                    raise
                return _opened_exclusively(place, content)  # a file system without links
            finally:
                hidden.unlink(missing_ok=True)
            return True

        return self._tried("written", path, create)

    def names(self, folder: str) -> list[str]:
        """One look at the folder."""
        place = f"{self.location}/{checked(folder)}" if folder else self.location

        def names() -> list[str]:
            try:
                return sorted(name for name in os.listdir(place) if not name.startswith("."))
            except (FileNotFoundError, NotADirectoryError):
                return []

        return self._tried("read", folder, names)

    def tree(self, folder: str) -> list[str]:
        """One look at every folder below."""
        return self._tried("read", folder, lambda: sorted(_below(f"{self.location}/{checked(folder)}", "")))

    def size(self, folder: str) -> int:
        """As files say it, not as the disk counts blocks."""
        place = self._place(folder) if folder else self.root
        return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())

    def remove(self, path: str) -> None:
        """A folder is hidden first, so that nobody finds half of it."""
        place = self._place(path)

        def remove() -> None:
            hidden = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.old")
            try:
                os.rename(place, hidden)
            except (FileNotFoundError, NotADirectoryError):
                return
            if hidden.is_dir():
                shutil.rmtree(hidden, ignore_errors=True)
            else:
                hidden.unlink(missing_ok=True)

        self._tried("deleted", path, remove)

    def sweep(self, older_than_s: float) -> None:
        """Hidden files and folders that end in .tmp or .old."""
        for folder, folders, names in os.walk(self.root):
            for name in [*folders, *names]:
                path = Path(folder, name)
                if name.startswith(".") and name.endswith((".tmp", ".old")) and _age_s(path) > older_than_s:
                    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def append(self, path: str, line: str) -> None:
        """One write of one line: whole even between processes."""
        place = self._place(path)

        def append() -> None:
            place.parent.mkdir(parents=True, exist_ok=True)
            with open(place, "a") as stream:
                stream.write(line + "\n")

        self._tried("written", path, append)

    def lines(self, path: str) -> list[str]:
        """In the order in which they came."""
        return (self.read(path) or b"").decode().splitlines()

    def publish(
        self,
        folder: str,
        fill: Callable[[Path], None],
        *,
        allowed: Callable[[], None] = nothing_forbids,
        exclusive: bool = False,
    ) -> bool:
        """Filled under a hidden name, brought to disk, renamed."""
        place = self._place(folder)

        def publish() -> bool:
            return atomic.publish_folder(place, fill, allowed=allowed, exclusive=exclusive)

        return self._tried("written", folder, publish)

    def fetch(self, folder: str) -> Path:
        """The folder itself."""
        place = self._place(folder)
        return self._tried("read", folder, lambda: atomic.verify_folder(place))

    def is_published(self, folder: str) -> bool:
        """One look."""
        return (self._place(folder) / MANIFEST).is_file()

    def local_path(self, path: str) -> Path:
        """Below the root."""
        return self._place(path) if path else self.root

    def _place(self, path: str) -> Path:
        return self.root / checked(path)

    def _tried(self, done: str, path: str, call: Callable[[], Answer]) -> Answer:
        try:
            return tried(call, lambda error: isinstance(error, OSError) and error.errno in _MAY_PASS)
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno in _FULL:
                raise StorageError(
                    f"storage {self.location} is full ({reason}): {path} was not written, and nothing half-written is "
                    "left; make room and run it again"
                ) from error
            waited = f" for {patience_s():g} s" if error.errno in _MAY_PASS else ""
            raise StorageError(f"storage {self.location}: {path} cannot be {done}{waited} ({reason})") from error


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _below(folder: str, prefix: str) -> list[str]:
    found = []
    try:
        with os.scandir(folder) as listed:
            entries = list(listed)
    except (FileNotFoundError, NotADirectoryError):  # also one that is deleted just now
        return []
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            found += _below(entry.path, f"{prefix}{entry.name}/")
        else:
            found.append(prefix + entry.name)
    return found


def _opened_exclusively(place: Path, content: bytes) -> bool:
    try:
        descriptor = os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    return True
