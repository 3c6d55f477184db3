"""What Weights & Biases is told of a study: one run for each trial, one for each trunk, and the rows as metrics.

Plain data without wandb. A trial's run bears the trial's id and holds its whole curve, trunk included, so that
schedules compare from iteration 0; a trunk's run bears the segment's id and shows the work while it happens. What was
spent stands on the segment that spent it, so that the cost of all runs together is the cost of the study.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from raystudy.records import MEASURED_COLUMNS, EvalRow, Row, SegmentRef, row_to_dict
from raystudy.spec.identity import from_dict, to_dict
from raystudy.spec.plan import Plan, Segment
from raystudy.spec.trial import TrialSpec
from raystudy.store import Store

AXIS = "iteration"
"""The metric that every other one is drawn over; also wandb's own step."""

CELL = "cell"
"""The config entry that runs are averaged by: all levels but the seed's, such as ``random 6x``."""

_SHARED = ("lr", "global_batch", "workers", "wall_time_s")
_EXPOSURE = ("images", "instances", "pixels_nominal", "pixels_measured")
_BEST = ("box_ap", "mask_ap")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackedRun:
    """One run as it appears: which, in which group, and what can be filtered and grouped by."""

    run_id: str
    """The trial's id, or the segment's for a trunk: the same run however often it is started."""

    job_type: Literal["trial", "trunk"]
    group: str
    """The study."""

    tags: tuple[str, ...]
    """Levels of the study's axes as ``axis:level``; a trunk has those that all its trials share."""

    config: Mapping[str, Any]
    """The spec, flat, and each axis with its level."""

    segment_id: str
    """The segment whose process feeds this run; rows of any other are the trunk's."""

    earlier: tuple[SegmentRef, ...] = ()
    """Where the trial's rows before that segment come from."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        plain: dict[str, Any] = to_dict(self)
        return plain

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "TrackedRun":
        """The inverse of ``to_dict``."""
        return from_dict(cls, data, "run")


def tracked_runs(study: str, plan: Plan, levels: Mapping[str, Mapping[str, str]]) -> dict[str, TrackedRun]:
    """The run that each segment of the plan feeds, by segment id.

    A trial that ends inside a trunk has no segment of its own; its run is ``trial_run``'s, uploaded from the storage.

    Args:
        study: its name.
        plan: of the study.
        levels: each trial's level on each axis, by trial id; what the storage keeps of the study has them.
    """
    runs = {}
    for segment in plan.segments:
        if segment.kind != "trunk":
            (trial_id,) = plan.trials_ending_in(segment.segment_id)
            runs[segment.segment_id] = trial_run(study, trial_id, plan, levels.get(trial_id, {}))
        else:
            runs[segment.segment_id] = trunk_run(study, segment, plan, levels)
    return runs


def trial_run(study: str, trial_id: str, plan: Plan, levels: Mapping[str, str]) -> TrackedRun:
    """The run of one trial of the plan."""
    *earlier, own = plan.paths[trial_id]
    return TrackedRun(
        run_id=trial_id,
        job_type="trial",
        group=study,
        tags=_tags(levels),
        config={**levels, **flat_spec(plan.trials[trial_id]), CELL: cell(levels)},
        segment_id=own.segment_id,
        earlier=tuple(earlier),
    )


def trunk_run(study: str, segment: Segment, plan: Plan, levels: Mapping[str, Mapping[str, str]]) -> TrackedRun:
    """The run of one trunk, with the levels that all its trials share and no schedule: it has several."""
    through = [levels.get(trial_id, {}) for trial_id in plan.trials_through(segment.segment_id)]
    common = {axis: level for axis, level in through[0].items() if all(of.get(axis) == level for of in through)}
    config = {key: value for key, value in flat_spec(segment.spec).items() if not key.startswith("schedule_")}
    return TrackedRun(
        run_id=segment.segment_id,
        job_type="trunk",
        group=study,
        tags=_tags(common),
        config={**common, **config, CELL: cell(common)},
        segment_id=segment.segment_id,
    )


def earlier_rows(store: Store, run: TrackedRun) -> list[Row]:
    """The rows of the trial before its own segment, first to last."""
    rows: list[Row] = []
    for ref in run.earlier:
        rows += [row for row in store.segment(ref.segment_id).rows() if ref.start < row.iteration <= ref.end]
    return rows


def points(rows: Iterable[Row], run: TrackedRun) -> Iterator[dict[str, Any]]:
    """One flat dict an iteration, for a single call of ``log``: wandb drops a second call at the same step.

    Columns become ``train/…``, ``val/…``, ``exposure/…``, or keep their name when both kinds of row share them. What
    was not measured (nan) is left out.
    """
    for iteration, together in groupby(rows, key=lambda row: row.iteration):
        point: dict[str, Any] = {AXIS: iteration}
        for row in together:
            point |= _metrics(row)
            if run.job_type == "trial":
                point["in_trunk"] = int(row.segment_id != run.segment_id)
        yield point


def summary(rows: Iterable[Row], run: TrackedRun) -> dict[str, Any]:
    """What is said of the whole run: final and best AP, and what its own segment has cost."""
    found: dict[str, Any] = {}
    for row in rows:
        if isinstance(row, EvalRow):
            for name in _BEST:
                value = getattr(row, name)
                if math.isnan(value):
                    continue
                found[f"final/{name}"] = value
                if value > found.get(f"best/{name}", -math.inf):
                    found |= {f"best/{name}": value, f"best/{name}_iteration": row.iteration}
        if row.segment_id == run.segment_id and not math.isnan(row.wall_time_s):
            found["cost/worker_hours"] = row.wall_time_s * row.workers / 3600
    return found


def flat_spec(spec: TrialSpec) -> dict[str, Any]:
    """The spec with one key a field: ``model_norm``, ``schedule_total``. (wandb takes a dot for nesting.)"""
    return dict(_flat("", to_dict(spec)))


def cell(levels: Mapping[str, str]) -> str:
    """What trials that differ in their seed only have in common."""
    return " ".join(level for axis, level in levels.items() if axis != "seed")


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(f"{prefix}_{key}" if prefix else key, item)
    else:
        yield prefix, value


def _tags(levels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{axis}:{level}"[:64] for axis, level in levels.items())  # 64: wandb's longest tag


def _metrics(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row_to_dict(row).items():
        if isinstance(value, str) or name == AXIS or (isinstance(value, float) and math.isnan(value)):
            continue
        if name in _SHARED:
            found[name] = value
        elif name in _EXPOSURE:
            found[f"exposure/{name}"] = value
        elif name in MEASURED_COLUMNS:
            found[f"speed/{name}"] = value
        else:
            found[f"{row.split}/{name}"] = value
    return found
