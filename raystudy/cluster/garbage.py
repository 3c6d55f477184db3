"""What a storage keeps that no study needs any more."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from raystudy.cluster.ledger import release_forks
from raystudy.spec.plan import stored_plan
from raystudy.store import Store


@dataclass(frozen=True, slots=True)
class Garbage:
    """What was, or would be, deleted."""

    segments: tuple[str, ...]
    """Segments of no study and no search, whole."""

    freed_bytes: int


def collect_garbage(store: Store, *, dry_run: bool = False) -> Garbage:
    """Delete segments that belong to no study or search, and fork checkpoints that every branch has taken over.

    Results are never deleted: the rows, the final checkpoint and the matches of every trial of a study stay. Do not run
    it while a study that is not yet in the storage is being started.
    """
    before = disk_bytes(store.root)
    plans = [stored_plan(store.read_study(name)) for name in store.study_names()]
    needed = {segment.segment_id for plan in plans for segment in plan.segments}
    needed |= {ref.segment_id for record in store.trials() for ref in record.segments}
    searches = [store.read_search(name) for name in store.search_names()]
    needed |= {ref.segment_id for search in searches if search for trial in search.trials for ref in trial.segments}
    folder = store.root / "segments"
    unneeded = sorted(path.name for path in folder.glob("*") if path.name not in needed) if folder.is_dir() else []
    if dry_run:
        return Garbage(tuple(unneeded), sum(disk_bytes(folder / name) for name in unneeded))
    for name in unneeded:
        shutil.rmtree(folder / name)
    for plan in plans:
        release_forks(store, plan)
    return Garbage(tuple(unneeded), before - disk_bytes(store.root))


def disk_bytes(folder: Path) -> int:
    """Bytes of all files below ``folder``."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
