"""Flags of where and with what a study runs."""

import argparse
import dataclasses
import runpy
from pathlib import Path

import pytest

from raystudy.commands.plan_tables import left_out_line
from raystudy.errors import SpecError
from raystudy.flags import add_study_flags, build_settings, build_study
from raystudy.spec.presets import init_axis, load_preset, schedule_axis
from raystudy.spec.study import StudySpec


def options(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_study_flags(parser)
    return parser.parse_args(given)


def test_the_bound_of_resized_pictures_is_a_setting_and_is_checked() -> None:
    study = StudySpec(name="s", base=load_preset("smoke").base)
    assert build_settings(study, options()).cache_gib is None
    assert build_settings(study, options("--cache-gib", "0")).cache_gib == 0
    assert build_settings(study, options("--cache-gib", "2.5")).cache_gib == 2.5
    for wrong in ("-1", "inf", "nan"):
        with pytest.raises(SpecError, match=r"--cache-gib is .*, but must be 0"):
            build_settings(study, options(f"--cache-gib={wrong}"))


def trained(*given: str) -> set[tuple[str, str]]:
    """The sizes and schedules of what `my_data.py` trains."""
    script = Path(__file__).resolve().parent.parent / "experiments" / "my_data.py"
    study = build_study(runpy.run_path(str(script))["study"], options("--preset", "demo", *given))
    return {(levels["fraction"], levels["schedule"]) for levels, _ in study.cells()}


@pytest.mark.parametrize(
    ("schedules", "compared_at"), [("1,2,4,6", "4x"), ("1,2", "2x"), ("6,2,5", "2x"), ("6,8", "6x")]
)
def test_a_part_of_the_images_is_trained_on_at_one_schedule_whichever_are_given(
    schedules: str, compared_at: str
) -> None:
    parts = {(fraction, compared_at) for fraction in ("30%", "10%")}
    assert trained("--schedules", schedules) == parts | {("100%", f"{k}x") for k in schedules.split(",")}


def test_levels_without_a_trial_are_told() -> None:
    base = load_preset("smoke").base
    axes = (init_axis(), schedule_axis((1, 2), 18, base.schedule))
    study = StudySpec(name="s", base=base, axes=axes)
    assert left_out_line(study) == ""
    study = dataclasses.replace(study, excluded=({"schedule": "2x"},))
    assert left_out_line(study).startswith("No trial of schedule 2x: ")
