"""Shared trunks against trials that train alone: the same bits for fewer iterations, and how much sooner.

{random, pretrained} x 5 schedules on a tiny detector, run twice through Tune: naive (`--no-share`) and shared. Exits 1
when a row, a metric or a final weight differs in any bit, when more than 45% of the naive iterations are trained, or
when the wall time with one worker is above 60% of the naive one's. With --workers 2 every trial is a Ray Train run of
two workers (for `--norm sync_bn` and `gn`), whose start-up dominates so small a study: there only bits and iterations
are judged.

    python benchmarks/shared_trunks.py
    python benchmarks/shared_trunks.py --workers 2 --norm sync_bn
"""

import argparse
import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from raystudy.cluster.ledger import read_trial
from raystudy.cluster.settings import RunSettings
from raystudy.cluster.tuner import run_plan
from raystudy.records import MEASURED_COLUMNS, Row, TrialState, row_to_dict
from raystudy.spec.data import ShapesSpec
from raystudy.spec.plan import Plan, make_plan
from raystudy.spec.presets import init_axis, load_preset, shapes_data
from raystudy.spec.schedule import Drop, ScheduleSpec
from raystudy.spec.study import Axis, Level, StudySpec, with_workers
from raystudy.spec.trial import replaced
from raystudy.store import Store

MOST_ITERATIONS, MOST_WALL_TIME = 0.45, 0.60


def study(unit: int, workers: int, norm: str) -> StudySpec:
    """Schedules of 2 to 6 units that all drop two thirds of a unit before their end, as the paper's do."""
    smoke = load_preset("smoke")
    interval = unit // 3
    base = dataclasses.replace(
        smoke.base,
        data=shapes_data(ShapesSpec(num_train=32, num_val=8)),
        eval_interval=interval,
        log_interval=interval,
    )
    levels = [Level(name=f"{k}x", overrides={"schedule": _schedule(k, unit)}) for k in (2, 3, 4, 5, 6)]
    made = StudySpec(
        name="shared_trunks",
        base=replaced(base, **{"model.norm": norm, "schedule": _schedule(1, unit)}),
        axes=(init_axis(), Axis(name="schedule", levels=tuple(levels))),
        pretraining=smoke.pretraining,
    )
    return with_workers(made, workers)


def _schedule(k: int, unit: int) -> ScheduleSpec:
    drops = (Drop(before_end=unit * 2 // 3), Drop(before_end=max(1, unit * 2 // 9)))
    return ScheduleSpec(total=k * unit, drops=drops, warmup_iterations=2, label=f"{k}x")


def run(plan: Plan, storage: Path) -> float:
    """Wall time of the plan, seconds, Ray's start included."""
    Store.open(storage, create=True)
    began = time.perf_counter()
    records = run_plan(plan, RunSettings(storage=str(storage), study="shared_trunks"))
    unfinished = [record.trial_id for record in records.values() if record.state != TrialState.COMPLETE]
    if unfinished:
        sys.exit(f"not complete: {unfinished}")
    return time.perf_counter() - began


def differences(shared: tuple[Plan, Path], naive: tuple[Plan, Path]) -> list[str]:
    """Trials whose rows or final states are not the same bits."""
    found = []
    for trial_id in naive[0].trials:
        rows = [_comparable(_rows(plan, trial_id, storage)) for plan, storage in (shared, naive)]
        for one, other in zip(*rows, strict=False):
            names = [f"{name} ({one[name]}, {other[name]})" for name in one if one[name] != other.get(name)]
            if names:
                found.append(f"{trial_id}: {one['split']} row {one['iteration']} differs in {', '.join(names)}")
                break
        if len(rows[0]) != len(rows[1]):
            found.append(f"{trial_id}: {len(rows[0])} rows instead of {len(rows[1])}")
        states = [_final_state(plan, trial_id, storage) for plan, storage in (shared, naive)]
        names = [name for name in states[0] if not torch.equal(states[0][name], states[1][name])]
        if names:
            found.append(f"{trial_id}: {len(names)} tensors differ, such as {names[0]}")
    return found


def _rows(plan: Plan, trial_id: str, storage: Path) -> list[Row]:
    store = Store.open(storage)
    return store.trial_rows(read_trial(store, plan, trial_id))


def _comparable(rows: list[Row]) -> list[dict[str, str]]:
    left_out = {*MEASURED_COLUMNS, "segment_id"}
    return [{name: repr(value) for name, value in row_to_dict(row).items() if name not in left_out} for row in rows]


def _final_state(plan: Plan, trial_id: str, storage: Path) -> dict[str, torch.Tensor]:
    last = plan.paths[trial_id][-1]
    folder = Store.open(storage).segment(last.segment_id).load(last.end)
    content: dict[str, Any] = torch.load(folder / "state.pt", weights_only=True)
    momentum = {f"momentum.{key}": value["momentum_buffer"] for key, value in content["optimizer"]["state"].items()}
    return {**content["model"], **momentum}


def main() -> int:
    """Print the table; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unit", type=int, default=54, help="iterations of 1x, a multiple of 9 (default %(default)s)")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--norm", default="gn")
    options = parser.parse_args()
    trials = study(options.unit, options.workers, options.norm).trials()
    plans = {"naive": make_plan(trials, share=False), "shared": make_plan(trials)}
    with tempfile.TemporaryDirectory() as folder:
        storages = {name: Path(folder) / name for name in plans}
        seconds = {name: run(plan, storages[name]) for name, plan in plans.items()}
        found = differences((plans["shared"], storages["shared"]), (plans["naive"], storages["naive"]))
        print(f"\n{'trial':<48}{'iterations':>11}{'box AP':>9}{'mask AP':>9}")
        store = Store.open(storages["shared"])
        for trial_id, trial in plans["shared"].trials.items():
            metrics = read_trial(store, plans["shared"], trial_id).metrics
            print(f"{trial_id:<48}{trial.schedule.total:>11}{metrics['box_ap']:>9.2f}{metrics['mask_ap']:>9.2f}")
    iterations = plans["shared"].shared_iterations / plans["shared"].naive_iterations
    wall = seconds["shared"] / seconds["naive"]
    print(f"\nequal bits    {'yes' if not found else 'NO'}")
    print(f"iterations    {iterations:.1%} of naive (at most {MOST_ITERATIONS:.0%})")
    judged = options.workers == 1
    print(f"wall time     {wall:.1%} of naive" + (f" (at most {MOST_WALL_TIME:.0%})" if judged else " (not judged)"))
    print(f"              {seconds['shared']:.1f} s instead of {seconds['naive']:.1f} s")
    for difference in found:
        print(difference)
    return int(bool(found) or iterations > MOST_ITERATIONS or (judged and wall > MOST_WALL_TIME))


if __name__ == "__main__":
    sys.exit(main())
