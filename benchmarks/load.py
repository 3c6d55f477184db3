"""Reading a big study for its analysis: our storage against pandas over the result.json of Tune's trials."""

import dataclasses
import hashlib
import json
import resource
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.load import StudyTable, load_study
from benchmarks.row import Outcome, Row
from benchmarks.timing import seconds_of
from raystudy.atomic import MANIFEST, json_bytes
from raystudy.records import (
    EvalRow,
    SegmentRef,
    TrainRow,
    TrialRecord,
    TrialState,
    record_to_dict,
    row_to_dict,
)
from raystudy.records import Row as TrialRow
from raystudy.spec.data import DataSpec, ShapesSpec
from raystudy.spec.model import ModelSpec
from raystudy.spec.schedule import ScheduleSpec
from raystudy.spec.trial import TrialSpec
from raystudy.store import Store

ROWS_A_TRIAL = 200
STUDY = "many"
FIRST_SEED = 10_000
"""So that the ids of all trials are equally long."""

DISK_GB = 4
"""What 10,000 trials take on both sides, with room to spare."""

MOST_GB = 2.0
"""Memory that reading may take, its process included."""


def _load(quick: bool) -> Outcome:
    """Trials that share nothing, our worst case: one file of rows each."""
    trials = 100 if quick else 10_000
    free = shutil.disk_usage(tempfile.gettempdir()).free / 1e9
    if not quick and free < DISK_GB:
        return Outcome(missing=f"it needs {DISK_GB} GB in {tempfile.gettempdir()}, which has {free:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        storage, results = Path(folder) / "storage", Path(folder) / "results"
        _write(storage, trials)
        _write_results(results, trials)
        ours = [seconds_of(lambda: load_study(str(storage), STUDY)) for _ in range(1 if quick else 3)]
        study = load_study(str(storage), STUDY)
        gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        tables: list[pd.DataFrame] = []
        peer = [seconds_of(lambda: tables.append(_load_results(results)))]  # a minute and more: once
        same = _is_same(study, *tables)
    note = f"{trials:,} trials x {ROWS_A_TRIAL} rows, equal to the peer's; {gigabytes:.2f} GB (at most {MOST_GB:g})"
    return Outcome(ours, peer, is_right=same and gigabytes <= MOST_GB, note=note)


def _is_same(study: StudyTable, peers: pd.DataFrame) -> bool:
    """Every number of every row that both have."""
    ours = study.rows.sort_values(["seed", "iteration", "split"], ignore_index=True)
    peers = peers.sort_values(["seed", "iteration", "split"], ignore_index=True)
    numbers = ours.select_dtypes("number").columns.intersection(peers.columns)
    return len(numbers) > 10 and ours[numbers].astype(float).equals(peers[numbers].astype(float))


def _load_results(folder: Path) -> pd.DataFrame:
    """As Ray's ExperimentAnalysis reads it, in one table; pandas' constructor, which is faster than its normaliser."""
    tables = []
    for path in sorted(folder.glob("*/result.json")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        config = rows[0]["config"]
        tables.append(pd.DataFrame(rows).drop(columns="config").assign(**config))
    return pd.concat(tables, ignore_index=True)


def _base() -> TrialSpec:
    return TrialSpec(
        schedule=ScheduleSpec.from_units(10, 90, warmup_iterations=5),
        model=ModelSpec(backbone="tiny"),
        data=DataSpec(format="shapes", shapes=ShapesSpec()),
        eval_interval=9,
        log_interval=9,
    )


def _write(folder: Path, trials: int) -> None:
    """Complete trials of the same rows: one is written as training writes it, the others are copies under new names."""
    store = Store.open(folder, create=True)
    specs = [dataclasses.replace(_base(), seed=FIRST_SEED + number) for number in range(trials)]
    end, model = specs[0].schedule.total, specs[0].trial_id
    kept = store.segment(model)
    kept.finish(kept.begin_attempt().number, {"state": "complete", "iteration": end}, _rows(model, end))
    written = [path for path in (folder / kept.folder).rglob("*") if path.is_file()]
    files = {path.relative_to(folder / kept.folder): path.read_bytes() for path in written}
    for spec in specs:
        trial_id = spec.trial_id
        assert len(trial_id) == len(model)  # so that rows can be renamed in place
        segment = SegmentRef(segment_id=trial_id, start=0, end=end)
        record = TrialRecord(trial_id=trial_id, spec=spec.to_dict(), segments=(segment,), state=TrialState.COMPLETE)
        _json(folder / "trials" / f"{trial_id}.json", record_to_dict(record))
        renamed = {path: content.replace(model.encode(), trial_id.encode()) for path, content in files.items()}
        for path, content in renamed.items():
            place = folder / "segments" / trial_id / path
            place.parent.mkdir(parents=True, exist_ok=True)
            is_manifest = path.name == MANIFEST
            place.write_bytes(_manifest(path.parent, renamed) if is_manifest else content)
    by_id = {spec.trial_id: spec.to_dict() for spec in specs}
    study = {"name": STUDY, "trials": by_id, "unit": 90, "axes": [], "preset": "", "versions": {}, "commit": ""}
    _json(folder / "studies" / f"{STUDY}.json", study)


def _manifest(folder: Path, files: dict[Path, bytes]) -> bytes:
    others = {path.name: files[path] for path in files if path.parent == folder and path.name != MANIFEST}
    return json_bytes({"sha256": {name: hashlib.sha256(content).hexdigest() for name, content in others.items()}})


def _write_results(folder: Path, trials: int) -> None:
    """The same rows as Tune's JsonLoggerCallback writes them, with the columns that Tune adds to a result."""
    lines = []
    for number, row in enumerate(_rows("{id}", _base().schedule.total), 1):
        told = {name: value for name, value in row_to_dict(row).items() if value == value and value != ""}
        told |= {"timestamp": 1_700_000_000 + number, "checkpoint_dir_name": None, "done": False}
        told |= {"training_iteration": number, "trial_id": "{id}", "date": "2026-01-01_00-00-00"}
        told |= {"time_this_iter_s": 1.25, "time_total_s": 1.25 * number, "pid": 4242, "hostname": "node"}
        told |= {"node_ip": "10.0.0.1", "config": {"seed": -1}, "time_since_restore": 1.25 * number}
        lines.append(json.dumps(told | {"iterations_since_restore": number}))
    text = "\n".join(lines) + "\n"
    for seed in range(trials):
        path = folder / f"trial_{seed:05}"
        path.mkdir(parents=True)
        made = text.replace("{id}", f"{seed:05}").replace('"seed": -1', f'"seed": {FIRST_SEED + seed}')
        (path / "result.json").write_text(made)


def _rows(segment_id: str, total: int) -> list[TrialRow]:
    rows: list[TrialRow] = []
    for iteration in range(9, total + 1, 9):
        common: dict[str, Any] = {
            "segment_id": segment_id,
            "iteration": iteration,
            "lr": 0.02,
            "global_batch": 16,
            "workers": 8,
        }
        values: dict[str, Any] = {
            "loss": 1.0,
            "loss_mask": 0.3,
            "loss_box_reg": 0.2,
            "images": 16 * iteration,
            "wall_time_s": 1.0,
        }
        rows.append(TrainRow(**common, **values, iterations_per_s=3.0))
        metrics: dict[str, Any] = {
            f"{kind}_{name}": 40.0 for kind in ("box", "mask") for name in ("ap", "ap50", "ap75", "ap_small")
        }
        rows.append(EvalRow(**common, **values, **metrics, num_images=5000))
    assert len(rows) == ROWS_A_TRIAL
    return rows


def _json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json_bytes(content))


ROWS = (
    Row(
        name="load",
        what="rows of 10,000 trials into one table",
        against="pandas over Tune's result.json",
        measure=_load,
        at_least=10,
    ),
)
