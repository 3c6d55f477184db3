"""Another batch: the same images at the same rate per image."""

import dataclasses
import importlib
import sys
from pathlib import Path

import pytest

from raystudy.errors import SpecError
from raystudy.spec.linear_scaling import with_batch
from raystudy.spec.plan import make_plan
from raystudy.spec.presets import init_axis, load_preset, norm_axis
from raystudy.spec.study import Axis, Level, StudySpec, with_workers
from raystudy.spec.trial import TrialSpec
from raystudy.spec.variants import images_axis

PAPER = load_preset("paper")


def study(*axes: Axis) -> StudySpec:
    return StudySpec(name="scaled", base=PAPER.base, axes=(norm_axis(("gn",)), *axes), preset="paper", unit=PAPER.unit)


def images_at_drops(trial: TrialSpec) -> list[int]:
    return [milestone * trial.global_batch for milestone in (*trial.schedule.milestones, trial.schedule.total)]


@pytest.mark.parametrize(("workers", "batch", "images"), [(8, 8, 1), (4, 8, 2), (8, 32, 4), (2, 4, 2)])
def test_drops_and_ends_stay_at_the_same_images(workers: int, batch: int, images: int) -> None:
    whole = study(PAPER.schedule_axis())
    scaled = with_batch(with_workers(whole, workers), batch)
    for before, after in zip(whole.trials(), scaled.trials(), strict=True):
        assert (after.workers, after.images_per_worker) == (workers, images)
        assert images_at_drops(after) == images_at_drops(before)
        assert after.schedule.warmup_iterations * batch == before.schedule.warmup_iterations * 16
        assert after.eval_interval * batch == before.eval_interval * 16
        for iteration in (0, 500, 20_000, after.schedule.total - 1):
            assert after.lr_at(iteration) / batch == pytest.approx(before.lr_at(iteration * batch // 16) / 16, rel=2e-3)
    assert make_plan(scaled.trials()).shared_iterations * batch == make_plan(whole.trials()).shared_iterations * 16
    assert scaled.unit * batch == whole.unit * 16


def test_the_same_batch_changes_nothing() -> None:
    whole = study(PAPER.schedule_axis())
    assert with_batch(whole, 16).trials() == whole.trials()


def test_the_switch_of_a_cascade_is_scaled_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parent.parent.parent))
    made = importlib.import_module("experiments.cascade").study(PAPER)
    sys.modules.pop("experiments.cascade")
    made = dataclasses.replace(made.with_axis(norm_axis(("gn",))).with_axis(init_axis(("random",))), unit=PAPER.unit)
    before, after = made.trials(), with_batch(made, 8).trials()
    switched = [(b, a) for b, a in zip(before, after, strict=True) if b.switch_iteration is not None]
    assert switched
    assert all(a.switch_iteration == 2 * (b.switch_iteration or 0) for b, a in switched)


def test_schedules_of_a_study_file_are_plain_and_are_scaled(tmp_path: Path) -> None:
    plain = StudySpec.from_dict(study(PAPER.schedule_axis()).to_dict())
    assert with_batch(plain, 8).trials() == with_batch(study(PAPER.schedule_axis()), 8).trials()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(SpecError, match="8 workers share multiples of 8"):
        with_batch(study(), 12)
    with pytest.raises(SpecError, match=r"80/3|between two"):
        with_batch(study(PAPER.schedule_axis()), 3 * 16)
    with pytest.raises(SpecError, match="axis images_per_worker varies"):
        with_batch(study(images_axis(PAPER, (2, 1), k=1)), 8)
    level = Level(name="odd", overrides={"schedule.total": 101})
    with pytest.raises(SpecError, match="101 iterations would end between two"):
        with_batch(study(Axis(name="length", levels=(level,))), 32)
