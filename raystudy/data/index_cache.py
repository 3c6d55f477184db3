"""Indexes of large annotations, made once a machine and mapped into memory by all of its processes.

A json of COCO's size takes some minutes and gigabytes to parse, check and index. That happens in a process of its own,
which gives the memory back when it ends; the index is then a file beside the other caches, under the annotations'
checksum, and opening it costs no time and hardly any memory that is not shared.
"""

import dataclasses
import gc
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from raystudy.data.array_file import BrokenFileError
from raystudy.data.locks import locked
from raystudy.data.shapes import default_cache
from raystudy.data.sources import Source
from raystudy.data.split_index import INDEX_VERSION, SplitIndex
from raystudy.errors import DataError

KEPT_BYTES = 16 * 2**20
"""Annotations of this size or more are kept as an index; smaller ones are parsed in a second or so."""

_logger = logging.getLogger(__name__)


def open_index(source: Source) -> SplitIndex:
    """The index of a split's annotations: parsed here when they are small or without checksum, else mapped.

    Raises:
        DataError: the annotations cannot be used, with everything that is wrong.
    """
    if not source.checksum or source.num_bytes() < KEPT_BYTES:
        return SplitIndex.build(source.read_checked())
    path = index_path(source)
    found = _mapped(path)
    if found is not None:
        return found
    try:
        with locked(path.with_suffix(".lock")):
            found = _mapped(path)  # Another process may have made it meanwhile.
            if found is None:
                _logger.info("indexing %s, once on this machine", source.location)
                _make_in_child(source, path)
                found = SplitIndex.load(path)
    except OSError as e:
        raise DataError(
            f"the index of {source.location} cannot be kept in {path.parent} ({e}); set RAYSTUDY_CACHE to a folder "
            "with room"
        ) from e
    return found


def index_path(source: Source) -> Path:
    """Where the index of annotations with the source's checksum is kept."""
    return default_cache() / "index" / f"{source.checksum}-{INDEX_VERSION}.arrays"


def _mapped(path: Path) -> SplitIndex | None:
    """The kept index, or None when there is none, or none that is whole."""
    try:
        return SplitIndex.load(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except BrokenFileError as e:
        _logger.warning("%s; making it again", e)
        return None


def _make_in_child(source: Source, path: Path) -> None:
    asked = {**dataclasses.asdict(source), "images_dir": str(source.images_dir)}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    command = [sys.executable, "-m", "raystudy.data.index_cache", json.dumps(asked), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["it was killed, perhaps for want of memory"]
        raise DataError(f"{source.location} could not be indexed: {reason[0]} (status {done.returncode})")
    problems: list[str] = json.loads(done.stdout)
    if problems:
        raise DataError(problems)


def _main(asked: dict[str, Any], path: Path) -> list[str]:
    gc.disable()  # Nothing here is cyclic, and looking for cycles would double the time.
    source = Source(**{**asked, "images_dir": Path(asked["images_dir"])})
    try:
        SplitIndex.build(source.read_checked()).save(path)
    except DataError as e:
        return e.problems
    return []


if __name__ == "__main__":
    print(json.dumps(_main(json.loads(sys.argv[1]), Path(sys.argv[2]))))
