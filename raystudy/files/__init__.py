"""The files of a storage, wherever it lies: a folder (of this machine or shared), ``s3://`` or ``gs://``.

    files = open_files("s3://bucket/study")
    files.write_json("trials/3f2a.json", {...})
    files.publish("segments/9c1b/checkpoints/10.1", fill)     # whole or not there, on every kind of storage
    folder = files.fetch("segments/9c1b/checkpoints/10.1")    # a folder of this machine, checksums verified

Paths are relative, with ``/``; one that leads out of the storage is refused.
"""

import functools
import os
from pathlib import Path

from raystudy.atomic import MANIFEST
from raystudy.errors import StorageError
from raystudy.files.base import Files, checked
from raystudy.files.cache import default_cache, scratch
from raystudy.files.local import LocalFiles

__all__ = ["MANIFEST", "Files", "LocalFiles", "checked", "default_cache", "is_address", "open_files", "scratch"]
__all__ += ["storage_location"]

SCHEMES = ("s3", "gs")


def is_address(location: str) -> bool:
    """Whether a storage lies in an object store."""
    return location.startswith(tuple(f"{scheme}://" for scheme in SCHEMES))


def storage_location(text: str | Path) -> str:
    """One spelling for each storage: an address without a slash at its end, or an absolute folder.

    Raises:
        StorageError: an address of another kind, or a misspelt one.
    """
    location = str(text)
    if is_address(location):
        bucket, _, prefix = location.split("://")[1].partition("/")
        if not bucket:
            raise StorageError(f"storage {location} names no bucket; write it like s3://bucket/study")
        parts = [part for part in prefix.split("/") if part]
        if ".." in parts or "." in parts:
            raise StorageError(f"storage {location} has . or .. in its path; write the path that is meant")
        return "/".join([f"{location.split('://')[0]}://{bucket}", *parts])
    folder = location.removeprefix("file://")
    scheme = folder.partition(":")[0].lower()
    if "://" in folder or (scheme in (*SCHEMES, "file", "gcs") and folder[len(scheme) :].startswith(":/")):
        raise StorageError(
            f"storage {location} is of no kind that is supported; write a folder, s3://bucket/study or gs://bucket/study"
        )
    return str(Path(folder).expanduser().absolute())


def open_files(location: str | Path) -> Files:
    """The files of a storage; asks nothing of it yet.

    Raises:
        StorageError: the address cannot be one.
    """
    return _opened(storage_location(location), os.getpid())  # a client of an object store does not survive a fork


@functools.lru_cache(maxsize=64)
def _opened(location: str, _process: int) -> Files:
    if not is_address(location):
        return LocalFiles(Path(location))
    from raystudy.files.buckets import open_bucket

    return open_bucket(location)
