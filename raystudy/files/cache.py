"""Folders of this machine for what comes from elsewhere: copies that can be made again, and files that need a disk."""

import hashlib
import os
import shutil
import time
from pathlib import Path

CACHE_BYTES = 50 * 2**30
"""Of published folders that were fetched; the oldest go first. ``$RAYSTUDY_CACHE_GB`` says another bound."""

SPARED_S = 3600.0
"""What was fetched since then may be in use, and stays."""


def default_cache() -> Path:
    """``$RAYSTUDY_CACHE``, else ``~/.cache/raystudy``."""
    return Path(os.environ.get("RAYSTUDY_CACHE") or Path.home() / ".cache" / "raystudy").expanduser()


def scratch(location: str) -> Path:
    """A real folder for what cannot lie in an object store: the storage itself, or one of this machine named after it.

    For databases, Ray's and wandb's own files: never for what only the storage may know.
    """
    if "://" not in location:
        return Path(location)
    name = location.split("://")[1].replace("/", "-")[-40:]
    return default_cache() / "storages" / f"{name}-{hashlib.sha256(location.encode()).hexdigest()[:10]}"


def evict(folder: Path) -> None:
    """Delete the entries of ``folder`` that were not used for longest, until the others are within the bound."""
    bound = float(os.environ.get("RAYSTUDY_CACHE_GB") or CACHE_BYTES / 2**30) * 2**30
    entries = []
    for entry in folder.iterdir():
        try:
            used, size = entry.stat().st_mtime, sum(file.stat().st_size for file in entry.rglob("*"))
        except OSError:  # another process deletes it
            continue
        entries.append((used, size, entry))
    total = sum(size for _, size, _ in entries)
    for used, size, entry in sorted(entries):
        if total <= bound or time.time() - used < SPARED_S:
            break
        shutil.rmtree(entry, ignore_errors=True)
        total -= size
