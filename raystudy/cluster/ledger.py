"""What the storage says of a plan: which trials are complete, how far the others are, and what stopped them.

Read from the storage each time, never remembered, so that it is right after any crash.
"""

import dataclasses
from collections.abc import Collection, Sequence

from raystudy.records import EvalRow, Row, SegmentRef, TrialRecord, TrialState, check_rows
from raystudy.spec.plan import Plan, Segment
from raystudy.spec.trial import PretrainSpec
from raystudy.store import Store

_METRICS_PREFIXES = ("box_", "mask_", "keypoint_", "voc_")


def read_trial(store: Store, plan: Plan, trial_id: str) -> TrialRecord:
    """The trial's record as its segments have it now.

    A complete one stays what it was; so does one that failed for good, until it gets on or ``reopen`` is called.
    """
    known = store.read_trial(trial_id)
    if known is not None and known.state == TrialState.COMPLETE:
        return known
    path = plan.paths[trial_id]
    state, iteration, error = TrialState.COMPLETE, 0, ""
    for ref in path:
        committed = store.segment(ref.segment_id).committed_iteration()
        iteration = max(iteration, min(committed, ref.end))
        if committed < ref.end or _stopped_before(store, ref):
            state, error = _unfinished(store, ref, is_last=ref == path[-1])
            break
    record = _record(store, plan, trial_id, state, iteration, error)
    if state in (TrialState.WAITING, TrialState.RUNNING) and _was_given_up(known, iteration):
        return dataclasses.replace(record, state=TrialState.FAILED, error=known.error if known else "")
    if state != TrialState.COMPLETE:
        return record
    rows, trial = store.trial_rows(record), plan.trials[trial_id]
    check_rows(rows, start=0, end=iteration, eval_interval=trial.eval_interval, log_interval=trial.log_interval)
    return dataclasses.replace(record, metrics=last_metrics(rows))


def settle(store: Store, plan: Plan) -> dict[str, TrialRecord]:
    """Bring every trial's record in the storage up to date."""
    records = {}
    for trial_id in plan.trials:
        record = read_trial(store, plan, trial_id)
        if record != store.read_trial(trial_id):
            store.write_trial(record)
        records[trial_id] = record
    return records


def reopen(store: Store, plan: Plan) -> list[str]:
    """Let trials that failed for good wait to be tried again; their ids."""
    failed = [record for record in settle(store, plan).values() if record.state == TrialState.FAILED]
    for record in failed:
        store.write_trial(dataclasses.replace(record, state=TrialState.WAITING, error=""))
    return [record.trial_id for record in failed]


def pending_segments(store: Store, plan: Plan, wanted: Collection[str] | None = None) -> list[Segment]:
    """Segments that some open trial still needs, each no longer than it is needed.

    A trial that diverged would do so again; one that failed for good is not tried again unasked.

    Args:
        store: what has been trained.
        plan: of the study.
        wanted: trials that are asked for; all of the plan when None.
    """
    needed: dict[str, int] = {}
    for trial_id in plan.trials if wanted is None else wanted:
        if is_open(store, plan, trial_id):
            for ref in plan.paths[trial_id]:
                needed[ref.segment_id] = max(needed.get(ref.segment_id, 0), ref.end)
    segments = [
        dataclasses.replace(segment, end=needed[segment.segment_id])
        for segment in plan.segments
        if segment.segment_id in needed
    ]
    return [segment for segment in segments if not store.segment(segment.segment_id).is_done(segment.end)]


def is_open(store: Store, plan: Plan, trial_id: str) -> bool:
    """Whether there is something left to train for the trial."""
    if store.is_complete(trial_id):
        return False
    known = store.read_trial(trial_id)
    if known is not None and known.state == TrialState.WAITING:  # also what ``reopen`` has written
        return True
    return read_trial(store, plan, trial_id).state not in (TrialState.DIVERGED, TrialState.FAILED)


def pending_pretrainings(store: Store, plan: Plan, segments: Sequence[Segment]) -> dict[str, PretrainSpec]:
    """Recipes, by weights_id, of the weights that ``segments`` start from and the storage does not have."""
    needed = {segment.spec.init.weights_id for segment in segments if segment.spec.init.kind == "pretrained"}
    return {
        weights_id: recipe
        for weights_id, recipe in plan.pretrainings.items()
        if weights_id in needed and not store.has_weights(weights_id)
    }


def release_forks(store: Store, plan: Plan) -> None:
    """Delete fork checkpoints that every branch has taken over into a checkpoint of its own."""
    for trunk in plan.segments:
        children = [segment for segment in plan.segments if segment.parent == trunk.segment_id]
        if not children:
            continue
        pinned = {c.start for c in children if not _has_begun(store, c)}
        kept = store.segment(trunk.segment_id)
        kept.prune(keep=pinned, last=2 if kept.result() is None else 1)


def _was_given_up(known: TrialRecord | None, iteration: int) -> bool:
    return known is not None and known.state == TrialState.FAILED and known.iteration >= iteration


def _has_begun(store: Store, segment: Segment) -> bool:
    """Whether it can do without its fork: a branch with a checkpoint of its own, an evaluation that is done."""
    kept = store.segment(segment.segment_id)
    return kept.is_done(segment.end) if segment.is_evaluation else kept.committed_iteration() > segment.start


def has_stopped(store: Store, segment_id: str) -> bool:
    """Whether the segment ended before its end, in divergence or out of memory, which trying again would repeat."""
    result = store.segment(segment_id).result()
    return result is not None and result["state"] != TrialState.COMPLETE


def last_metrics(rows: list[Row]) -> dict[str, float]:
    """The metrics of the last evaluation, without those that were not measured."""
    last = next((row for row in reversed(rows) if isinstance(row, EvalRow)), None)
    if last is None:
        return {}
    values = {name: getattr(last, name) for name in EvalRow.__slots__ if name.startswith(_METRICS_PREFIXES)}
    return {name: value for name, value in values.items() if value == value}


def _stopped_before(store: Store, ref: SegmentRef) -> bool:
    result = store.segment(ref.segment_id).result()
    return result is not None and result["state"] != TrialState.COMPLETE and int(result["iteration"]) < ref.end


def _unfinished(store: Store, ref: SegmentRef, is_last: bool) -> tuple[TrialState, str]:
    segment = store.segment(ref.segment_id)
    result = segment.result()
    if result is not None and result["state"] in (TrialState.DIVERGED, TrialState.FAILED):
        where = "" if is_last else f"its trunk {ref.segment_id} ended at iteration {result['iteration']}: "
        return TrialState(result["state"]), where + str(result["error"])
    return (TrialState.RUNNING if segment.newest_attempt() else TrialState.WAITING), ""


def _record(
    store: Store,
    plan: Plan,
    trial_id: str,
    state: TrialState,
    iteration: int,
    error: str,
) -> TrialRecord:
    init = plan.trials[trial_id].init
    known = store.weights_provenance(init.weights_id) if init.kind == "pretrained" else None
    return TrialRecord(
        trial_id=trial_id,
        spec=plan.trials[trial_id].to_dict(),
        segments=plan.paths[trial_id],
        state=state,
        iteration=iteration,
        error=error,
        provenance={} if known is None else {"weights": known.to_dict()},
    )
