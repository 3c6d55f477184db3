"""What the storage says of a search trial: where it stands, whether a rung stops it, and what to train next.

Read from the storage each time, never remembered, so that it is right after any crash. Whether a rung stops a trial
depends on the results of earlier generations alone, so that it does not matter which trial of its own came first.
"""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence

from raystudy.cluster.ledger import last_metrics
from raystudy.records import EvalRow, Row, TrialRecord, TrialState, check_rows
from raystudy.search_records import SearchState, SearchTrial
from raystudy.spec.plan import Segment
from raystudy.spec.search import SearchSpec, first_drop, split
from raystudy.spec.trial import TrialSpec
from raystudy.store import Store

_ENDED = {TrialState.DIVERGED: SearchState.DIVERGED, TrialState.FAILED: SearchState.FAILED}


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """A search trial as it stands, and what it needs next."""

    trial: SearchTrial
    next: Segment | None
    """To train, no longer than until the next decision; None when the trial has ended."""


def standing(
    store: Store,
    search: SearchSpec,
    trial: SearchTrial,
    earlier: Sequence[SearchTrial],
    failed: Mapping[str, str],
    forks: Collection[int],
) -> Standing:
    """Where an open trial stands.

    Args:
        store: what has been trained.
        search: that asked for it.
        trial: still open in the record.
        earlier: trials of its arm in earlier generations, all of them ended.
        failed: segments that were given up, with the reason.
        forks: where trials of the arm may leave a trunk; its checkpoints there are kept.
    """
    spec = search.trial(trial.arm, trial.values)
    path = split(spec, sorted(forks)).segments
    rows = _rows(store, trial, path)
    values = {row.iteration: float(getattr(row, search.metric)) for row in rows if isinstance(row, EvalRow)}
    last_constant = first_drop(spec)
    rungs = [rung for rung in search.rungs if rung <= last_constant and rung < spec.schedule.total]
    at_rungs = {str(rung): values[rung] for rung in rungs if rung in values}
    reached = rows[-1].iteration if rows else 0
    trial = dataclasses.replace(trial, at_rungs=at_rungs, iteration=reached)
    stops: list[int] = []
    for rung in rungs:
        bar = rung_bar(search, earlier, rung)
        if bar is None:
            continue
        if rung in values and not values[rung] >= bar:
            passed = {text: value for text, value in at_rungs.items() if int(text) <= rung}
            return _ended(trial, SearchState.PRUNED, iteration=rung, at_rungs=passed)
        if rung not in values:
            stops.append(rung)
    if reached >= spec.schedule.total:
        return _completed(store, spec, trial, rows, values[spec.schedule.total])
    return _next(store, trial, path, failed, stops)


def rung_bar(search: SearchSpec, earlier: Sequence[SearchTrial], rung: int) -> float | None:
    """The least value with which a trial passes the rung; None while too few earlier trials have been there."""
    seen = sorted((t.at_rungs[str(rung)] for t in earlier if str(rung) in t.at_rungs), reverse=True)
    if len(seen) < search.min_values:
        return None
    return seen[math.ceil(search.keep * len(seen)) - 1]


def _rows(store: Store, trial: SearchTrial, path: Sequence[Segment]) -> list[Row]:
    """The trial's rows so far: of any complete trial of the same spec, else of its own path."""
    known = store.read_trial(trial.trial_id)
    if known is not None and known.state == TrialState.COMPLETE:
        return store.trial_rows(known)
    rows: list[Row] = []
    for segment in path:
        rows += [row for row in store.segment(segment.segment_id).rows() if segment.start < row.iteration]
        rows = [row for row in rows if row.iteration <= segment.end]
        if not rows or rows[-1].iteration < segment.end:
            break
    last = path[-1]
    if rows and rows[-1].iteration == last.end and not store.segment(last.segment_id).is_done(last.end):
        return [row for row in rows if row.iteration <= last.start]  # committed, and its result is not yet
    return rows


def _next(
    store: Store, trial: SearchTrial, path: Sequence[Segment], failed: Mapping[str, str], stops: Sequence[int]
) -> Standing:
    for segment in path:
        end = min([stop for stop in stops if segment.start < stop <= segment.end], default=segment.end)
        kept = store.segment(segment.segment_id)
        is_last = segment is path[-1] and end == segment.end
        if kept.is_done(end) or (not is_last and kept.committed_iteration() >= end):
            continue
        result = kept.result()
        if result is not None and TrialState(result["state"]) in _ENDED:
            return _ended(trial, _ENDED[TrialState(result["state"])], error=str(result["error"]))
        if segment.segment_id in failed:
            return _ended(trial, SearchState.FAILED, error=failed[segment.segment_id])
        return Standing(trial, dataclasses.replace(segment, end=end, ends=segment.ends if is_last else ()))
    raise AssertionError(f"{trial.trial_id} has neither ended nor anything to train")


def _completed(store: Store, spec: TrialSpec, trial: SearchTrial, rows: Sequence[Row], value: float) -> Standing:
    check_rows(rows, start=0, end=spec.schedule.total, eval_interval=spec.eval_interval, log_interval=spec.log_interval)
    if not store.is_complete(spec.trial_id):
        record = TrialRecord(
            trial_id=spec.trial_id,
            spec=spec.to_dict(),
            segments=trial.segments,
            state=TrialState.COMPLETE,
            iteration=spec.schedule.total,
            metrics=last_metrics(list(rows)),
        )
        store.write_trial(record)
    if math.isnan(value):
        return _ended(trial, SearchState.FAILED, error="the metric that is searched for was not measured")
    return _ended(trial, SearchState.COMPLETE, value=value)


def _ended(trial: SearchTrial, state: SearchState, **changes: object) -> Standing:
    return Standing(dataclasses.replace(trial, state=state, **changes), None)  # type: ignore[arg-type]
