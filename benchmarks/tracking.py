"""Weights & Biases: the same rows as our storage, for at most a tenth more CPU time.

    python benchmarks/tracking.py

A study of eight trials (four schedules, two seeds, random init; trunks shared) is trained twice from nothing: without
tracking, and with it against a stand-in server on loopback. Each seed is a process of its own, the four take turns, and
the CPU time of a process is counted with that of all it has started: the trainer and wandb-core together. Exit status 1
when a row on the server differs from the storage's, or when tracking takes more than 1.1 times the CPU time.
"""

import argparse
import ctypes
import dataclasses
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cluster.wandb_standin import Standin

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

LIMIT = 1.1
SCHEDULES = (1.0, 2.0, 4.0, 6.0)
SEEDS = (0, 1)
STUDY = "tracking"
UNIT = 72
"""Iterations of 1x: about a quarter of a minute a trial, still far less than any real one."""

_PR_SET_CHILD_SUBREAPER = 36
"""From linux/prctl.h: processes that lose their parent become ours, so that their CPU time is counted."""


def main() -> int:
    """Print both findings; 1 when one does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs=3, metavar=("STORAGE", "SEED", "PROJECT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(Path(options.train[0]), int(options.train[1]), options.train[2])
        return 0
    from tests.cluster.wandb_standin import Standin

    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    seconds = {"": 0.0, "tracked": 0.0}
    with Standin() as server, tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, **server.environment, "OMP_NUM_THREADS": "1"}
        environment.pop("WANDB_MODE", None)
        for seed in SEEDS:
            for project in sorted(
                seconds, reverse=seed % 2 == 1
            ):  # A B B A, so that a drifting machine favours neither
                storage = Path(folder) / f"{seed}-{project or 'plain'}"
                seconds[project] += cpu_seconds(storage, seed, project, environment)
        trials, compared, differing = compare(server, [Path(folder) / f"{seed}-tracked" for seed in SEEDS])
    ratio = seconds["tracked"] / seconds[""]
    print(f"{trials} trials, {compared} points on the server: {differing} differ from the storage's rows")
    print(
        f"CPU time {seconds['tracked']:.1f} s with tracking, {seconds['']:.1f} s without: {ratio:.3f} (limit {LIMIT})"
    )
    return int(trials != len(SCHEDULES) * len(SEEDS) or differing > 0 or ratio > LIMIT)


def cpu_seconds(storage: Path, seed: int, project: str, environment: dict[str, str]) -> float:
    """CPU time of one half study in a process of its own, with that of every process that it leaves behind."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, __file__, "--train", str(storage), str(seed), project]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def train(storage: Path, seed: int, project: str) -> None:
    """Every segment of one seed's trials, parents first, in this process as Tune's reused process would."""
    from raystudy.api import study_record
    from raystudy.cluster.settings import RunSettings
    from raystudy.cluster.tracked_runs import tracked_runs
    from raystudy.cluster.tracking import TrackingSettings
    from raystudy.cluster.worker import run_segment
    from raystudy.spec.plan import make_plan
    from raystudy.spec.presets import init_axis, load_preset
    from raystudy.spec.study import StudySpec
    from raystudy.store import Store

    preset = dataclasses.replace(load_preset("smoke"), unit=UNIT)
    axes = (init_axis(("random",)), preset.schedule_axis(SCHEDULES), preset.seed_axis((seed,)))
    study = StudySpec(name=STUDY, base=preset.base, axes=axes)
    plan = make_plan(study.trials())
    store = Store.open(storage, create=True)
    record = study_record(study, plan)
    store.write_study(STUDY, record)
    tracking = TrackingSettings(project=project, folder=str(storage)) if project else None
    runs = tracked_runs(record, plan)
    settings = RunSettings(storage=str(storage), study=STUDY, tracking=tracking)
    for segment in plan.segments:
        run_segment(segment, settings, _Unheard(), runs[segment.segment_id] if project else ())


class _Unheard:
    def report(self, progress: dict[str, object]) -> None:
        """Nobody schedules."""


def compare(server: "Standin", storages: list[Path]) -> tuple[int, int, int]:
    """Trials, points that the server holds, and points that differ, are missing or are too many."""
    from raystudy.cluster.tracked_runs import points
    from raystudy.cluster.tracking_sync import ended_runs
    from raystudy.store import Store

    trials = compared = differing = 0
    for storage in storages:
        for run, rows, _, _ in ended_runs(Store.open(storage), STUDY):
            trials += run.job_type == "trial"
            expected = list(points(rows, run))
            held = [{k: v for k, v in p.items() if not _is_shown(k)} for p in server.run(run.run_id).history]
            compared += len(held)
            differing += abs(len(held) - len(expected))
            differing += sum(ours != theirs for ours, theirs in zip(expected, held, strict=False))
    return trials, compared, differing


def _is_shown(key: str) -> bool:
    """wandb's own columns, pictures and the table."""
    return key.startswith(("_", "examples/")) or key == "categories"


if __name__ == "__main__":
    sys.exit(main())
