"""Pictures as training takes them, decoded and resized once a machine and mapped by all of its processes.

Each is a file of bare pixels, under a name that stands for its content, its size and whatever made it, so that a file
that is there is right; it appears under that name only when it is whole. What is full stays full: over whole epochs
that serves more hits than dropping the oldest would. A file may vanish at any time, which costs no more than the work.
"""

import hashlib
import logging
import mmap
import os
import platform
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import PIL
import torch
from numpy.typing import NDArray

from raystudy.data.locks import locked
from raystudy.data.shapes import default_cache
from raystudy.spec.data import DataSpec
from raystudy.spec.identity import digest

PIXELS_VERSION = 1
"""Raised when the same picture at the same size comes out otherwise."""

KEPT_FREE = 2 * 2**30
"""Bytes of the disk that are never filled."""

ABANDONED_S = 3600.0
"""A file that is still being written after so long belongs to a process that was killed."""

OUTDATED_S = 7 * 86400.0
"""Pictures of other versions that nothing has opened for so long make room."""

MOST_BYTES = 32 * 2**30
"""Of pictures, where nobody says how many."""

Picture = NDArray[np.uint8]
Size = tuple[int, int]

_logger = logging.getLogger(__name__)


class PictureStore:
    """A bounded folder of pictures that many processes fill and read at once."""

    def __init__(self, max_bytes: int, root: Path | None = None) -> None:
        """The machine's store, made where there is none; it may hold more than ``max_bytes``, and then takes no more.

        Args:
            max_bytes: of all pictures in it.
            root: the folder; below ``default_cache`` when not given.
        """
        self._max_bytes, self._root = max_bytes, root or default_cache() / "pictures"
        self._folder = self._root / _version()
        self._is_full = False
        self._known: dict[Path, tuple[int, int, str]] = {}
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            os.utime(self._folder)

    def get(self, path: Path, original: Size, size: Size, make: Callable[[], Picture]) -> Picture:
        """A picture at a size, kept or else made, and then kept if there is room. It is not to be written to.

        Args:
            path: its file.
            original: height and width as the annotations have it, which decide whether EXIF data turn it.
            size: height and width that are wanted.
            make: decodes and resizes it.
        """
        name = self._name(path, original, size)
        if name is None:
            return make()
        kept = self._folder / name[:2] / name
        found = _mapped(kept, size)
        if found is None:
            found = make()
            if not self._is_full:
                self._keep(kept, found)
        return found

    def _name(self, path: Path, original: Size, size: Size) -> str | None:
        """What stands for the pixels; None when the picture's file cannot be read."""
        try:
            stat = path.stat()
            known = self._known.get(path)
            if known is None or known[:2] != (stat.st_mtime_ns, stat.st_size):
                known = (stat.st_mtime_ns, stat.st_size, _content(path))
                self._known[path] = known
        except OSError:
            return None
        return f"{known[2]}-{original[0]}x{original[1]}-{size[0]}x{size[1]}"

    def _keep(self, kept: Path, picture: Picture) -> None:
        try:
            if self._reserve(kept, picture.nbytes):
                _write(kept, picture)
        except OSError as e:
            _logger.warning("resized pictures are no longer kept in %s (%s)", self._root, e)
            self._is_full = True

    def _reserve(self, kept: Path, num_bytes: int) -> bool:
        """Count a picture among those that are kept, unless there is no room for it or it is there already."""
        counter = self._root / "bytes"
        with locked(self._root / ".lock"):
            if kept.exists():
                return False
            used = _read_count(counter)
            if used is None or used + num_bytes > self._max_bytes:
                # Reservations of processes that were killed are given back, then what is out of date goes.
                used = self._counted()
                if used + num_bytes > self._max_bytes:
                    used -= self._clear_outdated()
            free = shutil.disk_usage(self._root).free
            has_room = used + num_bytes <= self._max_bytes and num_bytes + KEPT_FREE <= free
            counter.write_text(str(used + num_bytes * has_room))
            self._is_full = not has_room
            return has_room

    def _counted(self) -> int:
        """Bytes of all pictures; what killed processes left half written goes."""
        total = 0
        for file in self._root.glob("*/*/*"):
            with suppress(OSError):
                stat = file.stat()
                if file.name.startswith(".") and time.time() - stat.st_mtime > ABANDONED_S:
                    file.unlink()
                else:
                    total += stat.st_size
        return total

    def _clear_outdated(self) -> int:
        """Bytes that removing other versions' pictures has freed."""
        freed = 0
        for folder in self._root.iterdir():
            if folder.is_dir() and folder != self._folder and time.time() - folder.stat().st_mtime > OUTDATED_S:
                freed += sum(file.stat().st_size for file in folder.glob("*/*"))
                shutil.rmtree(folder, ignore_errors=True)
        return freed


def open_store(data: DataSpec, gib: float | None) -> PictureStore | None:
    """The machine's store for the pictures of ``data``, where it pays and is wanted.

    The embedded shapes are taken as they are drawn and fit into each process, so they are not kept.

    Args:
        data: of a trial.
        gib: most GiB that all pictures may take, 0 for no store; None takes half of the memory, so that what is kept
            is mostly read from there, but at most a quarter of what the disk has free and 32 GiB.
    """
    if data.format == "shapes" or gib == 0:
        return None
    return PictureStore(_default_bytes() if gib is None else int(gib * 2**30))


def _default_bytes() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    root = default_cache()
    try:
        root.mkdir(parents=True, exist_ok=True)
        return min(MOST_BYTES, memory // 2, shutil.disk_usage(root).free // 4)
    except OSError:
        return 0


def _version() -> str:
    """Of everything that decides the pixels: the decoder, the resize and its kernels."""
    makers = [PIXELS_VERSION, PIL.__version__, torch.__version__, platform.machine()]
    return digest([*makers, torch.backends.cpu.get_cpu_capability()], length=16)


def _content(path: Path) -> str:
    """What identifies a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _mapped(kept: Path, size: Size) -> Picture | None:
    """The pixels of a kept picture; None when it is not there. A power failure may leave a file of another length."""
    num_bytes = size[0] * size[1] * 3
    try:
        with kept.open("rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size != num_bytes:
                return None
            # Torch wants what could be written to; a page that is written to would become this process' own.
            mapped = mmap.mmap(file.fileno(), num_bytes, access=mmap.ACCESS_COPY)
    except (OSError, ValueError):
        return None
    return np.frombuffer(mapped, np.uint8).reshape(*size, 3)


def _write(kept: Path, picture: Picture) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_name(f".{kept.name}.{os.getpid()}.part")
    with partial.open("wb", buffering=0) as file:
        file.write(np.ascontiguousarray(picture).data)
        os.fsync(file.fileno())
    partial.replace(kept)


def _read_count(counter: Path) -> int | None:
    try:
        return int(counter.read_text())
    except (OSError, ValueError):
        return None
