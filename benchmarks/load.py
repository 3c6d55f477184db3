"""Reading a big study: 10,000 trials of 200 rows each in under 10 s and 2 GB.

    python benchmarks/load.py [TRIALS]

Writes such a study (trials that share nothing, which is the worst case: one file each), reads it in a process of its
own, and prints its CPU seconds and its peak memory. Exit status 1 when a limit is passed.
"""

import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from raystudy.records import EvalRow, Row, SegmentRef, TrainRow, TrialRecord, TrialState, record_to_dict, write_rows
from raystudy.spec.data import DataSpec, ShapesSpec
from raystudy.spec.model import ModelSpec
from raystudy.spec.schedule import ScheduleSpec
from raystudy.spec.trial import TrialSpec

LIMIT_S = 10.0
LIMIT_GB = 2.0
ROWS = 200
READ = "--read"


def main() -> int:
    """Write, read in another process, judge."""
    if READ in sys.argv:
        return _read(sys.argv[-1])
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), trials)
        return subprocess.run([sys.executable, __file__, READ, folder], check=False).returncode


def _read(folder: str) -> int:
    from analysis.load import load_study

    start, start_wall = time.process_time(), time.perf_counter()
    study = load_study(folder, "many")
    seconds, wall = time.process_time() - start, time.perf_counter() - start_wall
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{len(study.trials):,} trials, {len(study.rows):,} rows: {seconds:.1f} s CPU ({wall:.1f} s wall), ", end="")
    print(f"peak {gigabytes:.2f} GB (limits {LIMIT_S:.0f} s, {LIMIT_GB:.0f} GB)")
    return int(seconds >= LIMIT_S or gigabytes >= LIMIT_GB)


def _write(folder: Path, trials: int) -> None:
    base = TrialSpec(
        schedule=ScheduleSpec.from_units(10, 90, warmup_iterations=5),
        model=ModelSpec(backbone="tiny"),
        data=DataSpec(format="shapes", shapes=ShapesSpec()),
        eval_interval=9,
        log_interval=9,
    )
    specs = {}
    for seed in range(trials):
        spec = dataclasses.replace(base, seed=seed)
        trial_id = spec.trial_id
        specs[trial_id] = spec.to_dict()
        segment = SegmentRef(segment_id=trial_id, start=0, end=spec.schedule.total)
        record = TrialRecord(trial_id=trial_id, spec=specs[trial_id], segments=(segment,), state=TrialState.COMPLETE)
        _json(folder / "trials" / f"{trial_id}.json", record_to_dict(record))
        path = folder / "segments" / trial_id
        path.mkdir(parents=True)
        write_rows(path / "rows.arrow", _rows(trial_id, spec.schedule.total))
        _json(path / "result.json", {"state": "complete", "iteration": spec.schedule.total})
    content = {"name": "many", "trials": specs, "unit": 90, "axes": [], "preset": "", "versions": {}, "commit": ""}
    _json(folder / "studies" / "many.json", content)


def _rows(segment_id: str, total: int) -> list[Row]:
    rows: list[Row] = []
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
    assert len(rows) == ROWS
    return rows


def _json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


if __name__ == "__main__":
    sys.exit(main())
