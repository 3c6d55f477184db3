"""Studies of known truth, written in the storage layout, so that analysis is tested without training."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from raystudy import atomic
from raystudy.provenance import WeightsProvenance
from raystudy.records import (
    EvalRow,
    Row,
    SegmentRef,
    TrainRow,
    TrialRecord,
    TrialState,
    columns,
    record_to_dict,
    row_to_dict,
)
from raystudy.spec.data import DataSpec, ShapesSpec
from raystudy.spec.model import ModelSpec
from raystudy.spec.schedule import ScheduleSpec
from raystudy.spec.trial import InitSpec, TrialSpec

UNIT = 90
"""Iterations of 1x in synthetic studies."""

Truth = Callable[[TrialSpec, int], Mapping[str, float]]
"""Trial and iteration -> the metrics of that evaluation, plus ``train_loss``."""


@dataclass(frozen=True)
class Made:
    """One trial to write."""

    spec: TrialSpec
    state: TrialState = TrialState.COMPLETE
    until: int | None = None
    """Iterations that storage has; all of them when None."""


def trial(init: str, k: float, seed: int = 0, *, num_images: int | None = None, unit: int = UNIT) -> TrialSpec:
    """A small trial: evaluations every 10 iterations, training rows every 5."""
    return TrialSpec(
        schedule=ScheduleSpec.from_units(k, unit, warmup_iterations=5),
        model=ModelSpec(backbone="tiny"),
        init=InitSpec(kind="random") if init == "random" else InitSpec(kind="pretrained", weights_id="tiny-gn-w"),
        data=DataSpec(format="shapes", shapes=ShapesSpec(num_train=1500), num_images=num_images, num_categories=6),
        eval_interval=unit // 9,
        log_interval=unit // 18,
        seed=seed,
        workers=1,
        images_per_worker=4,
    )


def write_study(
    storage: Path, trials: Sequence[TrialSpec | Made], truth: Truth, *, name: str = "made", unit: int = UNIT
) -> str:
    """Write a study with shared trunks (all trials of equal init, data and seed share one); returns its name."""
    made = [one if isinstance(one, Made) else Made(one) for one in trials]
    trunks: dict[str, list[Made]] = {}
    for one in made:
        trunks.setdefault(one.spec.readable_prefix("trunk"), []).append(one)
    for trunk_id, members in trunks.items():
        _write_group(storage, trunk_id, members, truth)
    content = {
        "name": name,
        "trials": {one.spec.trial_id: one.spec.to_dict() for one in made},
        "axes": [{"name": "init", "levels": ["random", "pretrained"]}],
        "preset": "demo",
        "unit": unit,
        "versions": {"raystudy": "0.1.0", "torch": "2"},
        "commit": "0123abc",
    }
    _write(storage / "studies" / f"{name}.json", json.dumps(content))
    weights = WeightsProvenance(
        source="raystudy pretrain",
        images_seen=51_200,
        pixels_nominal_seen=51_200 * 224 * 224,
        pixels_measured_seen=51_200 * 48 * 48,
        iterations=800,
        wall_time_s=70.0,
    )
    told = json.dumps(weights.to_dict())
    atomic.publish_folder(storage / "weights" / "tiny-gn-w", lambda place: _write(place / "provenance.json", told))
    return name


def _write_group(storage: Path, trunk_id: str, members: Sequence[Made], truth: Truth) -> None:
    forks = {one.spec.trial_id: one.spec.schedule.milestones[0] for one in members}
    longest = max(members, key=lambda one: forks[one.spec.trial_id])
    trunk_end = max(min(forks[one.spec.trial_id], _until(one)) for one in members)
    write_segment(storage, trunk_id, rows_of(longest.spec, trunk_id, 0, trunk_end, truth))
    for one in members:
        fork, until = forks[one.spec.trial_id], _until(one)
        branch_id = f"{one.spec.trial_id}-branch"
        refs = [SegmentRef(segment_id=trunk_id, start=0, end=fork)]
        refs.append(SegmentRef(segment_id=branch_id, start=fork, end=one.spec.schedule.total))
        if until > fork:
            write_segment(storage, branch_id, rows_of(one.spec, branch_id, fork, until, truth))
        record = TrialRecord(
            trial_id=one.spec.trial_id,
            spec=one.spec.to_dict(),
            segments=tuple(refs),
            state=one.state,
            iteration=until,
            error="out of memory" if one.state is TrialState.FAILED else "",
            provenance={"threads": 1},
        )
        _write(storage / "trials" / f"{one.spec.trial_id}.json", json.dumps(record_to_dict(record)))


def rows_of(spec: TrialSpec, segment_id: str, start: int, end: int, truth: Truth) -> list[Row]:
    """The rows of iterations ``start`` (exclusive) to ``end``."""
    rows: list[Row] = []
    every = spec.log_interval
    for iteration in sorted({*range(start // every * every + every, end + 1, every), end} - {start}):
        values = dict(truth(spec, iteration))
        images = iteration * spec.global_batch
        common: dict[str, Any] = {
            "segment_id": segment_id,
            "iteration": iteration,
            "lr": spec.lr_at(iteration - 1),
            "global_batch": spec.global_batch,
            "workers": spec.workers,
            "images": images,
            "instances": 4 * images,
            "pixels_nominal": images * 800 * 1333,
            "pixels_measured": images * 128 * 128,
            "wall_time_s": 0.1 * (iteration - start),
        }
        rows.append(TrainRow(**common, loss=values.pop("train_loss", 1.0), iterations_per_s=10.0))
        if iteration % spec.eval_interval == 0 or iteration == spec.schedule.total:
            rows.append(EvalRow(**common, **cast(dict[str, Any], {"loss": 1.0, "num_images": 300, **values})))
    return rows


def write_segment(storage: Path, segment_id: str, rows: Sequence[Row], *, version: int = 1) -> None:
    """Write a segment's rows as an Arrow file."""
    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    empty = {str: "", int: 0, float: float("nan")}
    fields = columns()
    schema = pa.schema(
        [(name, kinds[kind]) for name, kind in fields.items()], metadata={"raystudy_rows_version": str(version)}
    )
    lines = [{name: empty[kind] for name, kind in fields.items()} | row_to_dict(row) for row in rows]
    path = storage / "segments" / segment_id / "rows.arrow"
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_file(str(path), schema) as writer:
        writer.write_table(pa.Table.from_pylist(lines, schema=schema))
    last = rows[-1] if rows else None
    result = {"iteration": last.iteration if last else 0, "wall_time_s": last.wall_time_s if last else 0.0}
    _write(path.with_name("result.json"), json.dumps(result))


def catch_up(spec: TrialSpec, iteration: int, *, gap: float = 20.0, noise: float = 0.0) -> dict[str, float]:
    """Random init starts ``gap`` AP below pre-trained and is level from 4x on; +6 AP at the first drop."""
    units = iteration / UNIT
    behind = gap * max(0.0, 1.0 - units / 4.0) if spec.init.kind == "random" else 0.0
    leap = 6.0 if iteration > spec.schedule.milestones[0] else 0.0
    ap = 34.0 * (1 - 2.0 ** (-2 * units)) + leap - behind
    ap += noise * ((spec.seed * 7919 % 11) - 5) / 5 * (1 if spec.init.kind == "random" else -0.5)
    ap = max(0.0, ap)
    return {"box_ap": ap, "mask_ap": 0.9 * ap, "box_ap50": 1.4 * ap, "loss": 3 - ap / 25, "train_loss": 3 - ap / 22}


def without(rows: Sequence[Row], iteration: int) -> list[Row]:
    """The rows but those of one iteration: a hole."""
    return [row for row in rows if row.iteration != iteration]


def renamed(spec: TrialSpec, **changes: Any) -> TrialSpec:
    """``spec`` with top-level fields replaced."""
    return dataclasses.replace(spec, **changes)


def _until(one: Made) -> int:
    return one.spec.schedule.total if one.until is None else one.until


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
