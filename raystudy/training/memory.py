"""The memory that a process holds without using it."""

import ctypes
import sys
from functools import cache
from typing import Any


@cache
def _libc() -> Any:
    """The C library, where it is one that can give memory back on demand (glibc); else None."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") else None


def release_unused_memory() -> None:
    """Give back to the system what tensors of changing sizes have left behind in the C heap.

    Each iteration and each validation allocates and frees blocks of other sizes; glibc keeps the gaps, so that a
    process that trains for an hour on a CPU grows to several times what it uses.
    """
    library = _libc()
    if library is not None:
        library.malloc_trim(0)
