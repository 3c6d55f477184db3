"""Bisection for the crossover: what it asks for, and that it finds what the whole grid would."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from raystudy import crossover
from raystudy.cluster.settings import RunSettings
from raystudy.crossover import find_crossover
from raystudy.spec.presets import init_axis, load_preset
from raystudy.spec.study import StudySpec
from raystudy.store import Store

SMOKE = load_preset("smoke")
SCHEDULES = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
STUDY = StudySpec(
    name="crossover",
    base=SMOKE.base,
    axes=(init_axis(), SMOKE.schedule_axis(SCHEDULES), SMOKE.seed_axis()),
    pretraining=SMOKE.pretraining,
)
OF_TRIAL = {trial.trial_id: (levels["init"], levels["schedule"]) for levels, trial in STUDY.cells()}


@pytest.mark.parametrize("reached_at", range(len(SCHEDULES) + 1))
def test_it_finds_the_smallest_schedule_and_trains_nothing_twice(
    reached_at: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs: list[list[tuple[str, str]]] = []

    def run(study: StudySpec, settings: RunSettings, wanted: Sequence[str]) -> None:
        runs.append([OF_TRIAL[trial_id] for trial_id in wanted])

    def mean_ap(study: StudySpec, settings: RunSettings, init: str, schedule: str) -> float:
        assert (init, schedule) in [cell for asked in runs for cell in asked]
        return 40.0 if init == "pretrained" or float(schedule[:-1]) > reached_at else 30.0

    monkeypatch.setattr(crossover, "run", run)
    monkeypatch.setattr(crossover, "_mean_ap", mean_ap)
    Store.open(tmp_path, create=True)
    found = find_crossover(STUDY, RunSettings(storage=str(tmp_path), study="crossover"), delta=1.0)
    assert found.schedule == (f"{reached_at + 1}x" if reached_at < len(SCHEDULES) else None)
    asked = [cell for cells in runs for cell in cells]
    assert len(asked) == len(set(asked))
    assert len(runs) <= 3  # six schedules and "none" are told apart by three questions
    assert runs[0] == [*[("pretrained", f"{k:g}x") for k in SCHEDULES], ("random", "4x")]
    assert found.iterations < found.grid_iterations
