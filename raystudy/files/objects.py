"""A storage in an object store: S3 (and what speaks its protocol) or Google Cloud Storage.

There, a single object is whole or not there, and can be made by exactly one of several that try; nothing can be
renamed or appended to. So a published folder's files are uploaded under a name of their own first, and the manifest,
which says that name, makes them visible; a log is a folder of one object an event.

    checkpoints/10.1/at-3f2a91c0/state.pt, rows.arrow
    checkpoints/10.1/manifest.json              {"sha256": {…}, "at": "at-3f2a91c0"}
"""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError

from raystudy import atomic
from raystudy.atomic import MANIFEST, json_bytes, nothing_forbids, parsed_manifest
from raystudy.errors import CorruptCheckpointError, StorageError
from raystudy.files.base import Files, checked
from raystudy.files.cache import default_cache, evict
from raystudy.files.patience import patience_s, tried
from raystudy.files.refusals import cause, is_missing_bucket, may_pass

Answer = TypeVar("Answer")

CONNECTIONS = 8
"""Files, or pieces of a large one, that are transferred at a time."""

PIECE = 8 * 2**20
"""Bytes of one request."""

UNANSWERED_PATIENCE_S = 20.0
"""How long a store is waited for that has never answered: its address may be wrong."""


class ObjectFiles(Files):
    """A place in a bucket."""

    is_local = False

    def __init__(self, location: str, store: Any) -> None:
        """Of an obstore store whose paths begin at ``location``."""
        self.location = location
        self._store = store
        self._has_answered = False

    def __reduce__(self) -> tuple[Any, ...]:
        from raystudy.files import open_files

        return open_files, (self.location,)

    def check(self) -> None:
        """Writes a small object and deletes it."""
        probe = f".check-{uuid.uuid4().hex[:8]}"
        self.write(probe, b"")
        self.remove(probe)

    def read(self, path: str) -> bytes | None:
        """One request."""
        place = checked(path)
        try:
            return self._ask("read", path, lambda: bytes(obstore.get(self._store, place).bytes()))
        except FileNotFoundError:
            return None

    def write(self, path: str, content: bytes) -> None:
        """One request."""
        place = checked(path)
        self._ask("written", path, lambda: obstore.put(self._store, place, content))

    def create(self, path: str, content: bytes) -> bool:
        """One request, conditional on there being none."""
        place = checked(path)
        try:
            self._ask("written", path, lambda: obstore.put(self._store, place, content, mode="create"))
        except AlreadyExistsError:
            return self.read(path) == content
        return True

    def names(self, folder: str) -> list[str]:
        """One request for each 1000 names."""
        place = checked(folder) if folder else None
        found = self._ask("listed", folder, lambda: obstore.list_with_delimiter(self._store, place))
        paths = [*found["common_prefixes"], *(meta["path"] for meta in found["objects"])]
        names = {str(path).rstrip("/").rpartition("/")[2] for path in paths}
        return sorted(name for name in names if not name.startswith("."))

    def tree(self, folder: str) -> list[str]:
        """One request for each 1000 paths."""
        paths = (path[len(folder) + 1 :] for path, _, _ in self._listed(folder))
        return sorted(path for path in paths if not any(part.startswith(".") for part in path.split("/")))

    def size(self, folder: str) -> int:
        """As the store lists them."""
        return sum(size for _, size, _ in self._listed(folder))

    def remove(self, path: str) -> None:
        """Manifests first, so that nobody finds half of a published folder."""
        below = [found for found, _, _ in self._listed(path)]
        first = [found for found in below if found.endswith(f"/{MANIFEST}")]
        self._delete([*first, checked(path)])
        self._delete([found for found in below if found not in first])

    def sweep(self, older_than_s: float) -> None:
        """Files of published folders that no manifest names."""
        listed, named = self._listed(""), dict[str, str]()
        for path, _, changed in listed:
            folder, at = _part_of(path)
            if at and time.time() - changed > older_than_s:
                if folder not in named:
                    content = self.read(f"{folder}/{MANIFEST}")
                    named[folder] = "" if content is None else str(json.loads(content).get("at", ""))
                if named[folder] != at:
                    self._delete([path])

    def append(self, path: str, line: str) -> None:
        """One object a line, named by its time."""
        self.write(f"{path}/{time.time_ns():020d}-{uuid.uuid4().hex[:8]}", line.encode())

    def lines(self, path: str) -> list[str]:
        """In the order of their times."""
        paths = sorted(found for found, _, _ in self._listed(path))
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            return [content.decode() for content in pool.map(self.read, paths) if content is not None]

    def publish(
        self,
        folder: str,
        fill: Callable[[Path], None],
        *,
        allowed: Callable[[], None] = nothing_forbids,
        exclusive: bool = False,
    ) -> bool:
        """The files, then the manifest."""
        at, manifest = f"at-{uuid.uuid4().hex[:8]}", f"{checked(folder)}/{MANIFEST}"
        outgoing = default_cache() / "outgoing" / at
        try:
            sums = self._filled(outgoing, fill)
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                list(pool.map(lambda name: self._upload(outgoing / name, f"{folder}/{at}/{name}"), sums))
            allowed()
        except Exception:
            self._forget(folder, at)
            raise
        finally:
            shutil.rmtree(outgoing, ignore_errors=True)
        content = json_bytes({"sha256": sums, "at": at})
        if exclusive:
            was_made = self.create(manifest, content)
            if not was_made:
                self._forget(folder, at)
            return was_made
        before = self.read(manifest)
        self.write(manifest, content)
        self._forget(folder, "" if before is None else str(json.loads(before).get("at", "")))
        return True

    def fetch(self, folder: str) -> Path:
        """A copy in the cache of this machine, named after what it holds; made where it is not there yet."""
        for _ in range(3):  # the folder may be replaced while it is read
            manifest = self.read(f"{folder}/{MANIFEST}")
            if manifest is None:
                raise CorruptCheckpointError(f"{self.location}/{folder} has no {MANIFEST}")
            sums, at = parsed_manifest(manifest, f"{self.location}/{folder}")
            try:
                return self._copied(folder, sums, at)
            except CorruptCheckpointError:
                if self.read(f"{folder}/{MANIFEST}") == manifest:
                    raise
        raise CorruptCheckpointError(f"{self.location}/{folder} was replaced again and again while it was read")

    def local_path(self, path: str) -> None:
        """There is none."""
        checked(path) if path else None

    def _copied(self, folder: str, sums: dict[str, str], at: tuple[str, ...]) -> Path:
        name = hashlib.sha256(json_bytes(sums)).hexdigest()[:32]
        entry = default_cache() / "objects" / name
        try:
            if entry.is_dir():
                atomic.verify_folder(entry)
                os.utime(entry)
                return entry
        except CorruptCheckpointError:  # this machine's disk, not the storage
            shutil.rmtree(entry, ignore_errors=True)
        try:
            sizes = {path.rpartition("/")[2]: size for path, size, _ in self._listed("/".join([folder, *at]))}
            atomic.publish_folder(entry, lambda made: self._download(folder, at, sums, sizes, made), exclusive=True)
        except OSError as error:
            raise StorageError(
                f"{self.location}/{folder} cannot be copied to {entry.parent} ({error.strerror or error}); make room, "
                "or set RAYSTUDY_CACHE to a folder that has it"
            ) from error
        evict(entry.parent)
        return entry

    def _download(
        self, folder: str, at: tuple[str, ...], sums: dict[str, str], sizes: dict[str, int], made: Path
    ) -> None:
        missing = [name for name in sums if name not in sizes]
        if missing:
            raise CorruptCheckpointError(f"{self.location}/{folder} lacks {', '.join(missing)}")
        for name, value in sums.items():
            try:
                self._download_file("/".join([folder, *at, name]), sizes[name], made / name)
            except FileNotFoundError as error:
                raise CorruptCheckpointError(f"{self.location}/{folder} lacks {name}") from error
            if atomic.sha256(made / name) != value:
                raise CorruptCheckpointError(f"{self.location}/{folder}: {name} differs from its checksum")

    def _download_file(self, path: str, size: int, target: Path) -> None:
        descriptor = os.open(target, os.O_CREAT | os.O_WRONLY)

        def piece(start: int) -> None:
            end = min(start + PIECE, size)
            content = self._ask("read", path, lambda: obstore.get_range(self._store, path, start=start, end=end))
            os.pwrite(descriptor, bytes(content), start)

        try:
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                list(pool.map(piece, range(0, size, PIECE)))
        finally:
            os.close(descriptor)

    def _upload(self, source: Path, path: str) -> None:
        self._ask("written", path, lambda: obstore.put(self._store, path, source, chunk_size=PIECE, max_concurrency=4))

    def _filled(self, outgoing: Path, fill: Callable[[Path], None]) -> dict[str, str]:
        try:
            outgoing.mkdir(parents=True)
            return atomic.filled(outgoing, fill)
        except OSError as error:
            raise StorageError(
                f"{outgoing} cannot be written ({error.strerror or error}), from where files go to {self.location}; "
                "make room, or set RAYSTUDY_CACHE to a folder that has it"
            ) from error

    def _forget(self, folder: str, at: str) -> None:
        """Delete files that no manifest names any more, or never did; what cannot be deleted is swept later."""
        if at:
            try:
                self.remove(f"{folder}/{at}")
            except StorageError:
                return

    def _listed(self, folder: str) -> list[tuple[str, int, float]]:
        """Path, bytes and time of change of every object below a folder."""
        place = checked(folder) if folder else None
        found = self._ask("listed", folder, lambda: obstore.list(self._store, place).collect())
        return [(str(meta["path"]), int(meta["size"]), meta["last_modified"].timestamp()) for meta in found]

    def _delete(self, paths: list[str]) -> None:
        if not paths:
            return
        try:
            self._ask("deleted", paths[0], lambda: obstore.delete(self._store, paths))
        except FileNotFoundError:
            for path in paths if len(paths) > 1 else ():
                self._delete([path])

    def _ask(self, done: str, path: str, call: Callable[[], Answer]) -> Answer:
        patience = patience_s() if self._has_answered else min(UNANSWERED_PATIENCE_S, patience_s())
        try:
            answer = tried(call, may_pass, patience)
        except AlreadyExistsError:
            raise
        except Exception as error:
            if isinstance(error, FileNotFoundError) and not is_missing_bucket(error):
                self._has_answered = True
                raise
            waited = f" for {patience:g} s" if may_pass(error) else ""
            what = f"{path} cannot be {done}{waited}" if path else f"it cannot be {done}{waited}"
            raise StorageError(f"storage {self.location}: {what}: {cause(error, self.location)}") from error
        self._has_answered = True
        return answer


def _part_of(path: str) -> tuple[str, str]:
    """The published folder that a file belongs to, and the name below it; empty for other files."""
    folder, _, _ = path.rpartition("/")
    folder, _, at = folder.rpartition("/")
    return (folder, at) if at.startswith("at-") else ("", "")
