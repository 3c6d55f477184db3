"""Files and folders that are whole or not there at all.

A file is written beside its place and renamed; a folder bears its final name only when every file in it is on disk,
together with a manifest of their checksums. So a process may die at any moment and nobody reads a torn thing.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raystudy.errors import CorruptCheckpointError, StorageError

MANIFEST = "manifest.json"


def write_json(path: Path, content: Any) -> None:
    """Replace ``path`` by ``content`` in one motion."""
    write_bytes(path, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one motion."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        StorageError: it is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise StorageError(f"{path} is not readable as JSON ({error}); it was not written by raystudy") from error


def publish_folder(final: Path, fill: Callable[[Path], None], *, allowed: Callable[[], None] = lambda: None) -> None:
    """Let ``fill`` write into a hidden folder, and give it its final name when it is whole.

    Args:
        final: the name under which the folder becomes visible; a folder of that name is replaced.
        fill: writes the files.
        allowed: called just before the folder becomes visible; raises when it must not (a fence).
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    hidden = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir()
    try:
        fill(hidden)
        checksums = {path.name: _sha256(path) for path in sorted(hidden.iterdir())}
        write_json(hidden / MANIFEST, {"sha256": checksums})
        for name in checksums:
            _sync(hidden / name)
        allowed()
        if final.exists():
            replaced = final.with_name(f".{final.name}.{os.getpid()}.old")
            os.rename(final, replaced)
            os.rename(hidden, final)
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            os.rename(hidden, final)
        _sync(final.parent)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise


def verify_folder(folder: Path) -> None:
    """Check every file against the manifest.

    Raises:
        CorruptCheckpointError: a file is missing or differs, or there is no manifest.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise CorruptCheckpointError(f"{folder} has no {MANIFEST}")
    try:
        checksums = json.loads(manifest.read_bytes())["sha256"]
        wrong = [name for name, value in checksums.items() if _sha256(folder / name) != value]
    except (ValueError, KeyError, OSError) as error:
        raise CorruptCheckpointError(f"{folder} cannot be checked: {error}") from error
    if wrong:
        raise CorruptCheckpointError(f"{folder}: {', '.join(wrong)} differ from their checksums")


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
