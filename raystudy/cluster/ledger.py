"""What the storage says of a plan: which trials are complete, how far the others are, and what stopped them.

Read from the storage each time, never remembered, so that it is right after any crash.
"""

from raystudy.records import EvalRow, Row, SegmentRef, TrialRecord, TrialState
from raystudy.spec.plan import Plan, Segment
from raystudy.store import Store

_METRICS_PREFIXES = ("box_", "mask_", "keypoint_", "voc_")


def read_trial(store: Store, plan: Plan, trial_id: str) -> TrialRecord:
    """The trial's record as its segments have it now; a complete one stays what it was."""
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
    rows = store.trial_rows(_record(plan, trial_id, state, iteration, error)) if state == TrialState.COMPLETE else []
    return _record(plan, trial_id, state, iteration, error, last_metrics(rows))


def settle(store: Store, plan: Plan) -> dict[str, TrialRecord]:
    """Bring every trial's record in the storage up to date."""
    records = {}
    for trial_id in plan.trials:
        record = read_trial(store, plan, trial_id)
        if record != store.read_trial(trial_id):
            store.write_trial(record)
        records[trial_id] = record
    return records


def pending_segments(store: Store, plan: Plan) -> list[Segment]:
    """Segments that some incomplete trial still needs, those that ended in divergence included."""
    incomplete = [trial_id for trial_id in plan.trials if not store.is_complete(trial_id)]
    needed = {ref.segment_id for trial_id in incomplete for ref in plan.paths[trial_id]}
    return [s for s in plan.segments if s.segment_id in needed and not store.segment(s.segment_id).is_done(s.end)]


def has_diverged(store: Store, segment_id: str) -> bool:
    """Whether the segment ended in divergence, which trying again would only repeat."""
    result = store.segment(segment_id).result()
    return result is not None and result["state"] == TrialState.DIVERGED


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
    plan: Plan,
    trial_id: str,
    state: TrialState,
    iteration: int,
    error: str,
    metrics: dict[str, float] | None = None,
) -> TrialRecord:
    return TrialRecord(
        trial_id=trial_id,
        spec=plan.trials[trial_id].to_dict(),
        segments=plan.paths[trial_id],
        state=state,
        iteration=iteration,
        metrics=metrics or {},
        error=error,
    )
