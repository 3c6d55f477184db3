"""Trials that train in seconds: the smoke preset, smaller still."""

import dataclasses
from pathlib import Path

from raystudy.cluster.settings import RunSettings
from raystudy.records import MEASURED_COLUMNS, Row, row_to_dict
from raystudy.spec.data import ShapesSpec
from raystudy.spec.presets import load_preset, shapes_data, tiny_model
from raystudy.spec.schedule import Drop, ScheduleSpec
from raystudy.spec.trial import PretrainSpec, TrialSpec, replaced
from raystudy.store import Store

DATA = shapes_data(ShapesSpec(num_train=12, num_val=4, image_size=64))


def tiny_trial(total: int = 8, before_end: int = 4, **overrides: object) -> TrialSpec:
    """Two images of 64 px an iteration, evaluated every second one."""
    schedule = ScheduleSpec(total=total, drops=(Drop(before_end=before_end),), warmup_iterations=2)
    base = dataclasses.replace(load_preset("smoke").base, schedule=schedule, data=DATA, images_per_worker=2)
    return replaced(
        base,
        **{
            "input.train_short_sides": (64,),
            "input.test_short_side": 64,
            "input.max_side": 64,
            "eval_interval": 2,
            "log_interval": 2,
            **overrides,
        },
    )


def tiny_recipe(iterations: int = 6, num_pictures: int = 32) -> PretrainSpec:
    """A pre-training of 8 textures of 32 px an iteration, over in a second."""
    return PretrainSpec(
        backbone="tiny",
        norm_groups=10_000,
        image_size=32,
        iterations=iterations,
        batch_size=8,
        warmup_iterations=iterations // 3 or 1,
        num_pictures=num_pictures,
        num_held_out=20,
        pixels=tiny_model().pixels,
    )


def settings(storage: Path) -> RunSettings:
    """A fresh storage with one thread a worker."""
    Store.open(storage, create=True)
    return RunSettings(storage=str(storage), study="test")


def results(rows: list[Row], *, but: tuple[str, ...] = ()) -> list[dict[str, str]]:
    """Rows without what was measured by the clock; as text, so that nan equals nan and bits are compared."""
    left_out = {*MEASURED_COLUMNS, *but}
    return [{name: repr(value) for name, value in row_to_dict(row).items() if name not in left_out} for row in rows]
