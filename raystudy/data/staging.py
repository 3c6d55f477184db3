"""Data in an object store, copied once to each machine that trains on them.

Everything under the address is copied, file by file: a file bears its name only when all of its bytes are there, and
the folder bears its name only when all of its files are, so that nobody reads half of anything. A copy that was broken
off goes on where it was. A folder is named by what the store listed (names, sizes, times of change): where the data
change, a new one is made beside it, and files that did not change are shared.
"""

import errno
import json
import logging
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raystudy.atomic import write_json
from raystudy.data.locks import locked
from raystudy.data.shapes import default_cache
from raystudy.errors import DataError
from raystudy.spec.identity import digest

SCHEMES = ("s3://", "gs://")
MANIFEST = ".staged.json"
CONNECTIONS = 16
"""Files that are copied at a time."""

ATTEMPTS = 3
"""Before a file is given up."""

PIECE = 8 * 2**20
"""Bytes that are read at once."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file as the store lists it."""

    name: str
    """Relative to the address."""

    size: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class Staged:
    """A copy on this machine."""

    folder: Path
    version: str
    """Of the listing that it is a copy of."""


def is_remote(address: str) -> bool:
    """Whether ``address`` names an object store."""
    return address.startswith(SCHEMES)


def is_staged(address: str, version: str) -> bool:
    """Whether this machine has the copy of that version."""
    return bool(version) and (_home(address) / version / MANIFEST).is_file()


def stage(address: str, version: str = "") -> Staged:
    """The copy of an object store's folder on this machine, made where it is not there yet.

    One process copies, others that ask meanwhile wait for it.

    Args:
        address: such as ``s3://bucket/coco``; the store's usual environment variables apply (``AWS_ENDPOINT_URL``,
            ``AWS_ACCESS_KEY_ID``, ``GOOGLE_APPLICATION_CREDENTIALS``, …).
        version: what the study was planned with: that copy is taken without asking the store. Empty takes what the
            store has now, and mends a copy of it that has lost files.

    Raises:
        DataError: the store cannot be read, holds nothing there, or holds another version.
    """
    address = address.rstrip("/")
    home = _home(address)
    if version and (home / version / MANIFEST).is_file():
        return Staged(home / version, version)
    try:
        with locked(home / ".lock"):
            if version and (home / version / MANIFEST).is_file():
                return Staged(home / version, version)
            return _copy(address, home, version)
    except OSError as e:
        hint = "; set RAYSTUDY_CACHE to a folder with room" if e.errno in (errno.ENOSPC, errno.EACCES) else ""
        raise DataError(f"{address} cannot be copied to {home} ({e}); run it again to go on{hint}") from e


def _home(address: str) -> Path:
    return default_cache() / "staged" / digest(address.rstrip("/"), length=16)


def _copy(address: str, home: Path, version: str) -> Staged:
    store, path, files = _listing(address)
    found = digest([[file.name, file.size, file.changed_ns] for file in files], length=16)
    if version and found != version:
        raise DataError(
            f"{address} holds version {found}, but the study was planned with {version}: the data were changed; put "
            "the old ones back, or plan anew"
        )
    final, partial = home / found, home / f".{found}.partial"
    folder = final if final.is_dir() else partial
    wanted = [file for file in files if not _is_there(folder / file.name, file)]
    if wanted:
        _share(wanted, home, folder)
        wanted = [file for file in wanted if not _is_there(folder / file.name, file)]
        megabytes = sum(file.size for file in wanted) / 1e6
        _logger.info("copying %d of %d files, %.0f MB, of %s", len(wanted), len(files), megabytes, address)
        _fetch_all(store, path, wanted, folder)
    if wanted or folder is partial:
        listed = {file.name: [file.size, file.changed_ns] for file in files}
        write_json(folder / MANIFEST, {"address": address, "version": found, "files": listed})
    if folder is partial:
        partial.rename(final)
        for other in home.glob(".*.partial"):  # Of a version that changed before it was whole.
            shutil.rmtree(other, ignore_errors=True)
    return Staged(final, found)


def _listing(address: str) -> tuple[Any, str, list[RemoteFile]]:
    """The store, the path in it, and every file below, in the order of names."""
    from pyarrow import fs

    try:
        store, path = fs.FileSystem.from_uri(address)
        infos = store.get_file_info(fs.FileSelector(path, recursive=True))
    except (OSError, ValueError) as e:
        raise DataError(f"{address} cannot be listed ({e}); check the address, the endpoint and the credentials") from e
    files = [
        RemoteFile(info.path.removeprefix(path).lstrip("/"), int(info.size), int(info.mtime_ns or 0))
        for info in infos
        if info.type == fs.FileType.File
    ]
    if not files:
        raise DataError(f"there are no files in {address}")
    outside = [file.name for file in files if ".." in Path(file.name).parts]
    if outside:
        raise DataError(f"{address} has names that lead elsewhere, such as {outside[0]}; rename them")
    return store, path, sorted(files, key=lambda file: file.name)


def _fetch_all(store: Any, path: str, files: Sequence[RemoteFile], folder: Path) -> None:
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        problems = [text for text in pool.map(lambda file: _fetch(store, path, file, folder), files) if text]
    if problems:
        raise DataError([*problems[:10], f"{len(problems)} of {len(files)} files could not be copied; run it again"])


def _fetch(store: Any, path: str, file: RemoteFile, folder: Path) -> str:
    """Copy one file; what went wrong, or nothing."""
    final = folder / file.name
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.with_name(f".{final.name}.part")
    problem = ""
    for _ in range(ATTEMPTS):
        try:
            size = _download(store, f"{path}/{file.name}", partial)
        except OSError as e:
            if e.errno == errno.ENOSPC:
                raise
            problem = f"{file.name}: {e}"
            continue
        if size == file.size:
            partial.replace(final)
            os.utime(final, ns=(file.changed_ns, file.changed_ns))
            return ""
        problem = f"{file.name} came with {size} bytes, but is listed with {file.size}"
    partial.unlink(missing_ok=True)
    return problem


def _download(store: Any, source: str, target: Path) -> int:
    """Bytes that were written."""
    size = 0
    with store.open_input_stream(source) as stream, target.open("wb") as sink:
        while piece := stream.read(PIECE):
            size += sink.write(piece)
        sink.flush()
        os.fsync(sink.fileno())
    return size


def _share(files: Sequence[RemoteFile], home: Path, folder: Path) -> None:
    """Link what an older version has of the same name, size and time of change."""
    for manifest in sorted(home.glob(f"*/{MANIFEST}")):
        if manifest.parent == folder:
            continue
        known = json.loads(manifest.read_bytes())["files"]
        for file in files:
            old, new = manifest.parent / file.name, folder / file.name
            if known.get(file.name) == [file.size, file.changed_ns] and _is_there(old, file) and not new.exists():
                new.parent.mkdir(parents=True, exist_ok=True)
                os.link(old, new)


def _is_there(path: Path, file: RemoteFile) -> bool:
    """A copy has the size and the time of its original; the time is set when it is whole."""
    try:
        found = path.stat()
    except OSError:
        return False
    return found.st_size == file.size and found.st_mtime_ns == file.changed_ns
