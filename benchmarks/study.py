"""A whole study, scaled down, against the same study of stock parts: naive schedules, nested trials.

The demo's schedules with one seed and random init; a third of its iterations and of its validation pictures, so that
training and evaluation keep their ratio. What it costs to start a trial is not scaled, so that the peer's time without
it is told too. Counted is the CPU time of all processes but Ray's daemons, from the moment that Ray stands to the last
trial's end; analysis and report are left out on both sides.
"""

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.processes import ProcessTree, own_command
from benchmarks.results import ROOT
from benchmarks.row import Outcome, Row
from raystudy.data.shapes import render_shapes
from raystudy.spec.data import ShapesSpec
from raystudy.spec.presets import load_preset, shapes_data
from raystudy.spec.study import StudySpec
from raystudy.spec.trial import TrialSpec

FRACTION = 3
READY, DONE = "benchmark: ray stands", "benchmark: trials ended"
INSIDE = "inside.jsonl"


def scaled(quick: bool) -> dict[str, TrialSpec]:
    """The trials by id."""
    demo = load_preset("demo")
    assert demo.base.data.shapes is not None
    shapes: ShapesSpec = demo.base.data.shapes
    warmup = demo.base.schedule.warmup_iterations // FRACTION
    base = dataclasses.replace(
        demo.base,
        schedule=dataclasses.replace(demo.base.schedule, warmup_iterations=warmup),
        data=shapes_data(dataclasses.replace(shapes, num_val=round(shapes.num_val / FRACTION))),
        eval_interval=demo.base.eval_interval // FRACTION,
        log_interval=demo.base.log_interval // FRACTION,
    )
    preset = dataclasses.replace(demo, unit=demo.unit // FRACTION, base=base)
    axes = (preset.schedule_axis((1.0,) if quick else (1.0, 2.0, 4.0, 6.0)),)
    return {trial.trial_id: trial for trial in StudySpec(name="study", base=base, axes=axes).trials()}


def _study(quick: bool) -> Outcome:
    for trial in scaled(quick).values():
        assert trial.data.shapes is not None
        render_shapes(trial.data.shapes)  # once a machine, for both sides
    seconds, wall = {}, {}
    for side in ("ours", "peer"):
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
            tree = ProcessTree(own_command("study", side, folder, *["--quick"] * quick), environment)
            before, began = tree.seconds_at(READY), time.monotonic()
            seconds[side] = tree.seconds_at(DONE) - before
            wall[side] = time.monotonic() - began
            if tree.close() != 0:
                raise RuntimeError(f"{side} failed")
            if side == "peer":
                within = sum(json.loads(line) for line in Path(folder, INSIDE).read_text().splitlines())
    note = (
        f"{len(scaled(quick))} trials of the demo with a third of its iterations and validation pictures, all "
        f"processes but Ray's daemons; of the peer's time {within:.0f} CPU s lie within trials, which alone is "
        f"{within / seconds['ours']:.2f} times all of ours; by the wall clock {wall['ours'] / 60:.1f} min against "
        f"{wall['peer'] / 60:.1f}, which is {wall['peer'] / wall['ours']:.2f} times as long"
    )
    return Outcome([seconds["ours"]], [seconds["peer"]], note=note)


def run_ours(folder: str, quick: bool) -> None:
    """As `make study` trains: shared trunks, in Tune's own processes."""
    import ray.train
    import ray.tune  # noqa: F401

    from raystudy.cluster.connection import connection
    from raystudy.cluster.settings import RunSettings
    from raystudy.cluster.tuner import run_plan
    from raystudy.records import TrialState
    from raystudy.spec.plan import make_plan
    from raystudy.store import Store

    Store.open(folder, create=True)
    with connection(nested=False):
        print(READY, flush=True)
        records = run_plan(make_plan(list(scaled(quick).values())), RunSettings(storage=folder, study="study"))
        print(DONE, flush=True)
    if any(record.state != TrialState.COMPLETE for record in records.values()):
        raise RuntimeError(f"trials did not end well: {records}")


def _peers_worker(config: dict[str, Any]) -> None:
    import ray.train
    import torch

    from benchmarks.stock_study import train_stock

    def report(metrics: dict[str, float], model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        with tempfile.TemporaryDirectory() as folder:
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, f"{folder}/state.pt")
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))

    used = train_stock(TrialSpec.from_dict(config["spec"]), report)
    with Path(config["folder"], INSIDE).open("a") as file:
        file.write(f"{json.dumps(used)}\n")


def _peers_driver(config: dict[str, Any]) -> None:
    import ray.train
    import ray.tune
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    TorchTrainer(
        _peers_worker,
        train_loop_config=config,
        scaling_config=ray.train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=ray.train.RunConfig(
            name=f"train-trial_id={ray.tune.get_context().get_trial_id()}",
            storage_path=f"{config['folder']}/train",
            callbacks=[TuneReportCallback()],
        ),
    ).fit()


def run_peer(folder: str, quick: bool) -> None:
    """Every trial alone, nested, two at a time as two cores allow."""
    import ray
    import ray.train
    import ray.tune

    ray.init(address="local", log_to_driver=False, resources={"trial_driver": 1})
    print(READY, flush=True)
    specs = [trial.to_dict() for trial in scaled(quick).values()]
    results = ray.tune.Tuner(
        ray.tune.with_resources(_peers_driver, {"CPU": 0, "trial_driver": 0.01}),
        param_space={"spec": ray.tune.grid_search(specs), "folder": folder},
        tune_config=ray.tune.TuneConfig(max_concurrent_trials=2),
        run_config=ray.tune.RunConfig(name="stock", storage_path=f"{folder}/tune", verbose=0),
    ).fit()
    print(DONE, flush=True)
    if results.errors or len(results) != len(specs):
        raise RuntimeError(f"trials did not end well: {results.errors}")
    ray.shutdown()


def main() -> int:
    """One side, in a process of its own."""
    parser = argparse.ArgumentParser(description="what the row of this file starts")
    parser.add_argument("side", choices=("ours", "peer"))
    parser.add_argument("folder")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    (run_ours if options.side == "ours" else run_peer)(options.folder, options.quick)
    return 0


ROWS = (
    Row(
        name="study",
        what="the trials of a study, scaled down",
        against="stock parts, naive schedules, nested trials",
        measure=_study,
        at_least=2,
        stretch=4,
    ),
)

if __name__ == "__main__":
    sys.exit(main())
