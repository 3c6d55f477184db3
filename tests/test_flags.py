"""Flags of where and with what a study runs."""

import argparse

import pytest

from raystudy.errors import SpecError
from raystudy.flags import add_study_flags, build_settings
from raystudy.spec.presets import load_preset
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
