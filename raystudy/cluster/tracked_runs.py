"""What Weights & Biases is told of a study: a run for each trial, trunk and pre-training, and the rows as metrics.

Plain data without wandb. A trial's run bears the trial's id and holds its whole curve, trunk included, so that
schedules compare from iteration 0; a trunk's run bears the segment's id and shows the work while it happens. What was
spent stands on the segment that spent it, so that the cost of all runs together is the cost of the study.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from raystudy.records import MEASURED_COLUMNS, EvalRow, Row, SegmentRef, path_rows, row_to_dict
from raystudy.spec.identity import from_dict, to_dict
from raystudy.spec.plan import Plan, Segment
from raystudy.spec.trial import PretrainSpec, TrialSpec
from raystudy.store import Store

AXIS = "iteration"
"""The metric that every other one is drawn over; also wandb's own step."""

CELL = "cell"
"""The config entry that runs are averaged by: all levels but the seed's, such as ``random 6x``."""

DEVICE = "device"
"""The config entry that says whether a worker is a GPU."""

JobType = Literal["trial", "search", "trunk", "pretrain"]
"""``search``: a trial that a search has asked for. Trunks and pre-trainings are no trials, and no panel shows them."""

_SHARED = ("lr", "global_batch", "workers", "wall_time_s")
_EXPOSURE = ("images", "instances", "pixels_nominal", "pixels_measured")
_BEST = ("box_ap", "mask_ap")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackedRun:
    """One run as it appears: which, in which group, and what can be filtered and grouped by."""

    run_id: str
    """The trial's id, the segment's for a trunk, the weights' for a pre-training: the same however often started."""

    job_type: JobType
    group: str
    """The study."""

    tags: tuple[str, ...]
    """Levels of the study's axes as ``axis:level``; a trunk has those that all its trials share."""

    config: Mapping[str, Any]
    """The spec, flat, each axis with its level, and where the study comes from."""

    segment_id: str
    """The segment that is this run's alone and bears its cost; empty for a trial that ends in a trunk."""

    end: int
    """Iterations when it is complete."""

    earlier: tuple[SegmentRef, ...] = ()
    """Where the trial's other rows come from, first to last: its trunks."""

    @property
    def is_trial(self) -> bool:
        """Whether it is one training run of one detector, with a whole curve."""
        return self.job_type in ("trial", "search")

    @property
    def last_segment(self) -> str:
        """The segment in which it ends; empty for a pre-training."""
        return self.segment_id or (self.earlier[-1].segment_id if self.earlier else "")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        plain: dict[str, Any] = to_dict(self)
        return plain

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "TrackedRun":
        """The inverse of ``to_dict``."""
        return from_dict(cls, data, "run")


def tracked_runs(
    study: Mapping[str, Any], plan: Plan, job_type: Literal["trial", "search"] = "trial"
) -> dict[str, tuple[TrackedRun, ...]]:
    """The runs that each node of the plan feeds, by the id of the segment or of the weights.

    A branch feeds its trial's run; a trunk its own, and those of the trials that end in it.

    Args:
        study: what the storage keeps of it (its name, each trial's levels, its commit).
        plan: of the study.
        job_type: ``search`` for trials of a hyper-parameter search.
    """
    runs: dict[str, tuple[TrackedRun, ...]] = {}
    for segment in plan.segments:
        ending = plan.trials_ending_in(segment.segment_id)
        own = (trunk_run(study, segment, plan),) if has_trunk_run(segment, plan) else ()
        runs[segment.segment_id] = (*own, *(trial_run(study, trial_id, plan, job_type) for trial_id in ending))
    for weights_id, recipe in plan.pretrainings.items():
        runs[weights_id] = (pretraining_run(study, weights_id, recipe),)
    return runs


def has_trunk_run(segment: Segment, plan: Plan) -> bool:
    """Whether a segment is shown as a trunk: also a branch of which the study wants only other evaluations."""
    return segment.kind == "trunk" or not plan.trials_ending_in(segment.segment_id)


def trial_run(
    study: Mapping[str, Any], trial_id: str, plan: Plan, job_type: Literal["trial", "search"] = "trial"
) -> TrackedRun:
    """The run of one trial of the plan."""
    path = plan.paths[trial_id]
    has_own = plan.segment(path[-1].segment_id).kind != "trunk"
    levels = study["levels"].get(trial_id, {})
    return TrackedRun(
        run_id=trial_id,
        job_type=job_type,
        group=study["name"],
        tags=_tags(levels),
        config={**levels, **flat_spec(plan.trials[trial_id]), CELL: cell(levels), **_origin(study)},
        segment_id=path[-1].segment_id if has_own else "",
        end=path[-1].end,
        earlier=path[:-1] if has_own else path,
    )


def trunk_run(study: Mapping[str, Any], segment: Segment, plan: Plan) -> TrackedRun:
    """The run of one trunk, with the levels that all its trials share and no schedule: it has several."""
    through = [study["levels"].get(trial_id, {}) for trial_id in plan.trials_through(segment.segment_id)]
    common = {axis: level for axis, level in through[0].items() if all(of.get(axis) == level for of in through)}
    config = {key: value for key, value in flat_spec(segment.spec).items() if not key.startswith("schedule_")}
    return TrackedRun(
        run_id=segment.segment_id,
        job_type="trunk",
        group=study["name"],
        tags=_tags(common),
        config={**common, **config, CELL: cell(common), **_origin(study)},
        segment_id=segment.segment_id,
        end=segment.end,
    )


def pretraining_run(study: Mapping[str, Any], weights_id: str, recipe: PretrainSpec) -> TrackedRun:
    """The run of one pre-training: its recipe, and at the end what came of it. The storage keeps no rows of it."""
    return TrackedRun(
        run_id=weights_id,
        job_type="pretrain",
        group=study["name"],
        tags=(),
        config={**flat_spec(recipe), **_origin(study)},
        segment_id="",
        end=recipe.iterations,
    )


def with_provenance(run: TrackedRun, provenance: Mapping[str, Any], device: str) -> TrackedRun:
    """The run with what its segment was trained with: versions, threads, machine."""
    return dataclasses.replace(run, config={**run.config, **dict(_flat("provenance", provenance)), DEVICE: device})


def earlier_rows(store: Store, run: TrackedRun, segment_id: str) -> list[Row]:
    """The rows of the run before those of the segment that is at work on it, first to last."""
    before = tuple(itertools.takewhile(lambda ref: ref.segment_id != segment_id, run.earlier))
    rows = path_rows(before, lambda earlier: store.segment(earlier).rows())
    is_evaluation = run.segment_id == segment_id and bool(before) and before[-1].end == run.end
    # What an evaluation says takes the place of what the training before it said of the same iteration.
    return [row for row in rows if not (is_evaluation and row.split == "val" and row.iteration == run.end)]


def points(rows: Iterable[Row], run: TrackedRun) -> Iterator[dict[str, Any]]:
    """One flat dict an iteration, for a single call of ``log``: wandb drops a second call at the same step.

    Columns become ``train/…``, ``val/…``, ``exposure/…``, or keep their name when both kinds of row share them. What
    was not measured (nan) is left out.
    """
    for iteration, together in itertools.groupby(rows, key=lambda row: row.iteration):
        point: dict[str, Any] = {AXIS: iteration}
        for row in together:
            point |= _metrics(row)
            if run.is_trial:
                point["in_trunk"] = int(row.segment_id != run.segment_id)
        yield point


def is_shown(iteration: int, eval_interval: int) -> bool:
    """Whether an evaluation is one that is shown in pictures: the 1st, 2nd, 4th, 8th, …

    A function of the iteration alone, so that all trials show the same iterations, and that a run has at most
    ``log2`` of its evaluations as pictures. The end of a trial is shown besides.
    """
    number, rest = divmod(iteration, eval_interval)
    return rest == 0 and number > 0 and number & (number - 1) == 0


def summary(rows: Iterable[Row], run: TrackedRun) -> dict[str, Any]:
    """What is said of the whole run: final and best AP, what was seen, and what its own segment has cost."""
    found: dict[str, Any] = {}
    for row in rows:
        found |= {f"exposure/{name}": getattr(row, name) for name in _EXPOSURE}
        if isinstance(row, EvalRow):
            for name in _BEST:
                value = getattr(row, name)
                if math.isnan(value):
                    continue
                found[f"final/{name}"] = value
                if value > found.get(f"best/{name}", -math.inf):
                    found |= {f"best/{name}": value, f"best/{name}_iteration": row.iteration}
        if row.segment_id == run.segment_id and not math.isnan(row.wall_time_s):
            found |= _cost(row.wall_time_s, row.workers, run.config.get(DEVICE))
    return found


def pretraining_summary(provenance: Mapping[str, Any], run: TrackedRun) -> dict[str, Any]:
    """What came of a pre-training, from what the storage keeps of the weights."""
    found = {name: provenance[name] for name in ("top1", "sha256") if name in provenance}
    found |= {f"exposure/{name}": provenance[name] for name in ("images", "instances") if name in provenance}
    if "wall_time_s" in provenance:
        found |= _cost(provenance["wall_time_s"], provenance.get("workers", 1), run.config.get(DEVICE))
    return found


def _cost(wall_time_s: float, workers: int, device: Any) -> dict[str, float]:
    hours = wall_time_s * workers / 3600
    return {"cost/worker_hours": hours, **({"cost/gpu_hours": hours if device == "cuda" else 0.0} if device else {})}


def flat_spec(spec: TrialSpec | PretrainSpec) -> dict[str, Any]:
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


def _origin(study: Mapping[str, Any]) -> dict[str, Any]:
    return {name: study[name] for name in ("commit", "preset") if study.get(name)}


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
