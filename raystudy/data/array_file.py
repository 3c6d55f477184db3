"""Named arrays in one file that every process of a machine maps into memory, so that they are held once.

A file is a line of JSON (name, type, shape and place of each array, and whatever else belongs to them), then the
arrays, each on a multiple of 64 bytes. It appears under its name only when it is whole.
"""

import json
import math
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 64


class BrokenFileError(Exception):
    """The file was not written by ``write_arrays``, or is cut off; what it held has to be made again."""


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> None:
    """Write ``arrays``, and ``about`` them (JSON-ready), to ``path`` in one motion."""
    places: dict[str, dict[str, Any]] = {}
    end = 0
    for name, array in arrays.items():
        start = -(-end // ALIGNMENT) * ALIGNMENT
        places[name] = {"type": array.dtype.str, "shape": list(array.shape), "start": start}
        end = start + array.nbytes
    head = json.dumps({"about": about, "arrays": places, "bytes": end}).encode() + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(head + b" " * (-len(head) % ALIGNMENT))
        first = file.tell()
        for name, array in arrays.items():
            file.write(b"\0" * (first + places[name]["start"] - file.tell()))
            file.write(np.ascontiguousarray(array).data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def map_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays of a file, read-only and mapped, and what is said about them.

    Raises:
        BrokenFileError: the file is not whole.
        OSError: it is not there, or cannot be read.
    """
    with path.open("rb") as file:
        line = file.readline()
        size = os.fstat(file.fileno()).st_size
        first = -(-len(line) // ALIGNMENT) * ALIGNMENT
        try:
            head = json.loads(line)
            is_whole = size == first + head["bytes"]
        except (ValueError, KeyError, TypeError) as e:
            raise BrokenFileError(f"{path} has no readable head") from e
        if not is_whole:
            raise BrokenFileError(f"{path} has {size} bytes, but its head says {first + head['bytes']}")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    arrays = {}
    for name, place in head["arrays"].items():
        count = math.prod(place["shape"])
        kind = np.dtype(place["type"])
        flat = np.frombuffer(mapped, kind, count, first + place["start"]) if count else np.zeros(0, kind)
        arrays[name] = flat.reshape(place["shape"])
    return arrays, dict(head["about"])
