"""What a storage keeps that no study needs any more."""

from dataclasses import dataclass

from raystudy.cluster.ledger import release_forks
from raystudy.spec.plan import stored_plan
from raystudy.store import Store

LEFTOVER_S = 24 * 3600.0
"""What is half-written for so long belongs to a process that died."""


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
    files = store.files
    before = files.size("")
    plans = [stored_plan(store.read_study(name)) for name in store.study_names()]
    needed = {segment.segment_id for plan in plans for segment in plan.segments}
    needed |= {ref.segment_id for record in store.trials() for ref in record.segments}
    searches = [store.read_search(name) for name in store.search_names()]
    needed |= {ref.segment_id for search in searches if search for trial in search.trials for ref in trial.segments}
    unneeded = [segment_id for segment_id in store.segment_ids() if segment_id not in needed]
    if dry_run:
        return Garbage(tuple(unneeded), sum(files.size(f"segments/{segment_id}") for segment_id in unneeded))
    for segment_id in unneeded:
        files.remove(f"segments/{segment_id}")
        files.remove(f"logs/{segment_id}.jsonl")
        files.remove(f"logs/{segment_id}")
        files.remove(f"leases/{segment_id}")
    for plan in plans:
        release_forks(store, plan)
    files.sweep(LEFTOVER_S)
    return Garbage(tuple(unneeded), before - files.size(""))
