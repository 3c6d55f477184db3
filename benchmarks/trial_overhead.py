"""What a trial costs that does nothing: our way through Tune, against Tune over TorchTrainer as Ray's guide writes it.

The guide is Ray Train's "Hyperparameter tuning with Ray Tune": a driver function per trial that makes a TorchTrainer
with a TuneReportCallback. Its worker loads torch and reports once. Ours are trials that the storage holds already:
Tune hands them out, the process (or the group of workers) loads all that training loads, opens the storage, finds
nothing to do and reports. Counted is the CPU time of all processes from the Tuner's start to its end but Ray's daemons,
divided by the trials; Ray stands before that, and the process that starts the study has loaded it.
"""

import argparse
import functools
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.processes import ProcessTree, own_command
from benchmarks.results import ROOT
from benchmarks.row import Outcome, Row

TRIALS = {"ours": 16, "peer": 4}
"""As many as the demo has. Of the peer's, which share nothing, fewer tell the same."""

READY, DONE = "benchmark: ray stands", "benchmark: trials ended"


def _overhead(quick: bool, workers: int) -> Outcome:
    numbers = {"ours": TRIALS["ours"] if workers == 1 else TRIALS["peer"], "peer": TRIALS["peer"]}
    if quick:
        numbers = dict.fromkeys(numbers, 1)
    seconds = {side: _seconds_a_trial(side, workers, number) for side, number in numbers.items()}
    note = (
        f"{numbers['ours']} trials of {workers} worker{'s' * (workers > 1)}, {numbers['peer']} of the peer's; all "
        "processes but Ray's daemons, a process that is reused once"
    )
    return Outcome([seconds["ours"]], [seconds["peer"]], unit="CPU s a trial", note=note)


def _seconds_a_trial(side: str, workers: int, number: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = own_command("trial_overhead", side, str(workers), str(number), folder)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        tree = ProcessTree(command, environment)
        before = tree.seconds_at(READY)
        after = tree.seconds_at(DONE)
        if tree.close() != 0:
            raise RuntimeError(f"{side} failed")
    return (after - before) / number


def run_ours(folder: str, workers: int, number: int) -> None:
    """A study of trials that are done, handed out all the same."""
    import ray.train
    import ray.tune  # noqa: F401

    from raystudy.cluster import tuner
    from raystudy.cluster.connection import connection
    from raystudy.cluster.searcher import PlanSearcher
    from raystudy.cluster.settings import RunSettings
    from raystudy.records import EvalRow, Row, TrainRow, TrialState
    from raystudy.spec.plan import make_plan
    from raystudy.spec.presets import load_preset
    from raystudy.spec.schedule import Drop, ScheduleSpec
    from raystudy.spec.trial import replaced
    from raystudy.store import Store

    schedule = ScheduleSpec(total=2, drops=(Drop(before_end=1),), warmup_iterations=1)
    smoke = load_preset("smoke").base
    base = replaced(smoke, schedule=schedule, workers=workers, eval_interval=2, log_interval=2)
    plan = make_plan([replaced(base, seed=seed) for seed in range(number)])
    store = Store.open(folder, create=True)
    for segment in plan.segments:
        kept = store.segment(segment.segment_id)
        common: dict[str, Any] = {"segment_id": segment.segment_id, "iteration": segment.end, "lr": 0.1, "loss": 1.0}
        common |= {"global_batch": base.global_batch, "workers": workers, "images": 4}
        rows: list[Row] = [TrainRow(**common), EvalRow(**common)]
        kept.finish(kept.begin_attempt().number, {"state": TrialState.COMPLETE.value, "iteration": segment.end}, rows)
    tuner.pending_segments = lambda *_: list(plan.segments)  # type: ignore[attr-defined]
    PlanSearcher._is_done = lambda self, node_id: False  # type: ignore[method-assign]
    ended, end = [], PlanSearcher.on_trial_complete

    def counted(self: PlanSearcher, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        ended.append((trial_id, error))
        end(self, trial_id, result, error)

    PlanSearcher.on_trial_complete = counted  # type: ignore[method-assign]
    with connection(nested=workers > 1):
        print(READY, flush=True)
        records = tuner.run_plan(plan, RunSettings(storage=folder, study="overhead"))
        print(DONE, flush=True)
    if any(record.state != TrialState.COMPLETE for record in records.values()):
        raise RuntimeError(f"trials did not end well: {records}")
    if len(ended) != number or any(error for _, error in ended):
        raise RuntimeError(f"{number} trials were to be handed out, these ended: {ended}")


def _peers_worker(config: dict[str, Any]) -> None:
    import ray.train
    import torch

    ray.train.report({"loss": float(torch.zeros(()))})


def _peers_driver(config: dict[str, Any]) -> None:
    import ray.train
    import ray.tune
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    trainer = TorchTrainer(
        _peers_worker,
        train_loop_config={"seed": config["seed"]},
        scaling_config=ray.train.ScalingConfig(num_workers=config["workers"], resources_per_worker={"CPU": 1}),
        run_config=ray.train.RunConfig(
            name=f"train-trial_id={ray.tune.get_context().get_trial_id()}",
            storage_path=config["storage"],
            callbacks=[TuneReportCallback()],
        ),
    )
    trainer.fit()


def run_peer(folder: str, workers: int, number: int) -> None:
    """Ray's guide, with as many trials at a time as there is room for: one."""
    import ray
    import ray.tune

    ray.init(address="local", log_to_driver=False, resources={"trial_driver": 1})
    print(READY, flush=True)
    space = {"seed": ray.tune.grid_search(list(range(number))), "workers": workers, "storage": f"{folder}/train"}
    results = ray.tune.Tuner(
        ray.tune.with_resources(_peers_driver, {"CPU": 0, "trial_driver": 0.01}),
        param_space=space,
        tune_config=ray.tune.TuneConfig(max_concurrent_trials=1),
        run_config=ray.tune.RunConfig(name="guide", storage_path=f"{folder}/tune", verbose=0),
    ).fit()
    print(DONE, flush=True)
    if results.errors or len(results) != number:
        raise RuntimeError(f"trials did not end well: {results.errors}")
    ray.shutdown()


def main() -> int:
    """One side, in a process of its own."""
    parser = argparse.ArgumentParser(description="what a row of this file starts")
    parser.add_argument("side", choices=("ours", "peer"))
    parser.add_argument("workers", type=int)
    parser.add_argument("trials", type=int)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    run = run_ours if options.side == "ours" else run_peer
    run(str(options.folder), options.workers, options.trials)
    return 0


def _row(workers: int, at_least: float, stretch: float) -> Row:
    return Row(
        name=f"trial_overhead_{workers}",
        what=f"a trial that does nothing, {workers} worker{'s' * (workers > 1)}",
        against="Tune over TorchTrainer, as Ray's guide writes it",
        measure=functools.partial(_overhead, workers=workers),
        at_least=at_least,
        stretch=stretch,
    )


ROWS = (_row(1, 8, 20), _row(2, 1.3, 3))

if __name__ == "__main__":
    sys.exit(main())
