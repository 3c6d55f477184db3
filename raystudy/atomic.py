"""Files and folders of this machine that are whole or not there at all.

A file is written beside its place and renamed; a folder bears its final name only when every file in it is on disk,
together with a manifest of their checksums. So a process may die at any moment and nobody reads a torn thing.
"""

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raystudy.errors import CorruptCheckpointError, StorageError

MANIFEST = "manifest.json"
"""Of a published folder: ``{"sha256": {file: checksum}}``, and ``at``, the folder below that holds them, if any."""

_TORCH_CANNOT_WRITE = ("PytorchStreamWriter", "unexpected pos", "file write failed")
"""What torch.save says of a full disk, without the system's error."""


def nothing_forbids() -> None:
    """The fence of what needs none."""


def json_bytes(content: Any) -> bytes:
    """As all our JSON files are written."""
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def write_json(path: Path, content: Any) -> None:
    """Replace ``path`` by ``content`` in one motion."""
    write_bytes(path, json_bytes(content))


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one motion."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{_nonce()}.tmp")
    try:
        with open(temporary, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        StorageError: it is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise StorageError(f"{path} is not readable as JSON ({error}); it was not written by raystudy") from error


def publish_folder(
    final: Path,
    fill: Callable[[Path], None],
    *,
    allowed: Callable[[], None] = nothing_forbids,
    exclusive: bool = False,
) -> bool:
    """Let ``fill`` write into a hidden folder, and give it its final name when it is whole.

    Args:
        final: the name under which the folder becomes visible; a folder of that name is replaced.
        fill: writes the files.
        allowed: called just before the folder becomes visible; raises when it must not (a fence).
        exclusive: leave a folder of that name alone.

    Returns:
        Whether the folder is the one that was made here.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    hidden = final.with_name(f".{final.name}.{_nonce()}.tmp")
    hidden.mkdir()
    try:
        checksums = filled(hidden, fill)
        write_json(hidden / MANIFEST, {"sha256": checksums})
        for name in checksums:
            _sync(hidden / name)
        allowed()
        was_made = _renamed(hidden, final, exclusive)
        _sync(final.parent)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    return was_made


def filled(folder: Path, fill: Callable[[Path], None]) -> dict[str, str]:
    """Checksums, by name, of what ``fill`` writes into an empty folder.

    Raises:
        OSError: also where torch has only words for a full disk.
    """
    try:
        fill(folder)
    except RuntimeError as error:
        if not any(words in str(error) for words in _TORCH_CANNOT_WRITE):
            raise
        raise OSError(errno.ENOSPC, f"no space left on the device of {folder.parent}") from error
    return {path.name: sha256(path) for path in sorted(folder.iterdir())}


def verify_folder(folder: Path) -> Path:
    """Check every file against the manifest; where they lie.

    Raises:
        CorruptCheckpointError: a file is missing or differs, or there is no manifest.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise CorruptCheckpointError(f"{folder} has no {MANIFEST}")
    sums, at = parsed_manifest(manifest.read_bytes(), str(folder))
    place = folder.joinpath(*at)
    try:
        wrong = [name for name, value in sums.items() if sha256(place / name) != value]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CorruptCheckpointError(f"{folder} cannot be checked: {error}") from error
    if wrong:
        raise CorruptCheckpointError(f"{folder}: {', '.join(wrong)} differ from their checksums")
    return place


def parsed_manifest(content: bytes, place: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Checksums by name, and where below the folder the files lie (nothing, or one name).

    Raises:
        CorruptCheckpointError: it is no manifest.
    """
    try:
        manifest = json.loads(content)
        sums = {str(name): str(value) for name, value in manifest["sha256"].items()}
        at = (str(manifest["at"]),) if manifest.get("at") else ()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptCheckpointError(f"{place} cannot be checked: its {MANIFEST} is none ({error})") from error
    if any("/" in name or name in ("", ".", "..") for name in (*sums, *at)):
        raise CorruptCheckpointError(f"{place} cannot be checked: its {MANIFEST} names files elsewhere")
    return sums, at


def sha256(path: Path) -> str:
    """Checksum of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _renamed(hidden: Path, final: Path, exclusive: bool) -> bool:
    if exclusive:
        try:
            os.rename(hidden, final)  # onto a folder with anything in it: refused by the system
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            shutil.rmtree(hidden, ignore_errors=True)
            return False
        return True
    if final.exists():
        replaced = final.with_name(f".{final.name}.{_nonce()}.old")
        os.rename(final, replaced)
        os.rename(hidden, final)
        shutil.rmtree(replaced, ignore_errors=True)
    else:
        os.rename(hidden, final)
    return True


def _nonce() -> str:
    """Tells writers apart, also those of other machines."""
    return uuid.uuid4().hex[:8]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
