"""A schedule is a total and drops counted from its end; numbers are the paper's (section 4)."""

import pytest

from raystudy.errors import SpecError
from raystudy.spec.schedule import Drop, ScheduleSpec, warmup_factor_at
from raystudy.spec.trial import OptimizerSpec, TrialSpec


@pytest.mark.parametrize(
    ("k", "total", "drops"),
    [
        (2, 180_000, (120_000, 160_000)),
        (3, 270_000, (210_000, 250_000)),
        (4, 360_000, (300_000, 340_000)),
        (5, 450_000, (390_000, 430_000)),
        (6, 540_000, (480_000, 520_000)),
        (9, 810_000, (750_000, 790_000)),
    ],
)
def test_schedules_of_the_paper_drop_where_the_paper_says(k: int, total: int, drops: tuple[int, ...]) -> None:
    schedule = ScheduleSpec.from_units(k)
    assert schedule.total == total
    assert schedule.milestones == drops
    assert schedule.name == f"{k}x"
    assert schedule.problems() == []


def test_drops_scale_with_the_unit() -> None:
    assert ScheduleSpec.from_units(1, 405, warmup_iterations=60).milestones == (135, 315)


def test_a_unit_whose_drops_fall_between_iterations_is_refused_with_one_that_fits() -> None:
    with pytest.raises(SpecError, match="multiple of 9, such as 396"):
        ScheduleSpec.from_units(1, 400)


def test_the_factor_changes_at_the_first_iteration_of_the_new_phase() -> None:
    schedule = ScheduleSpec(total=100, drops=(Drop(before_end=40), Drop(before_end=10)), warmup_iterations=0)
    assert [schedule.factor_at(i) for i in (0, 59, 60, 89)] == pytest.approx([1, 1, 0.1, 0.1])
    assert schedule.factor_at(90) == pytest.approx(0.01)


def test_a_single_drop_of_another_factor_and_no_drop_at_all_are_schedules_too() -> None:
    tuned = ScheduleSpec(total=270_000, drops=(Drop(before_end=60_000, factor=0.02),))
    assert tuned.factor_at(210_000) == 0.02
    assert ScheduleSpec(total=50, drops=(), warmup_iterations=0).problems() == []
    assert tuned.name == "270k"


def test_warm_up_rises_linearly_from_a_third() -> None:
    assert [warmup_factor_at(i, 500, 1 / 3) for i in (0, 250, 500, 9000)] == pytest.approx([1 / 3, 2 / 3, 1, 1])


def test_the_learning_rate_scales_with_the_global_batch() -> None:
    schedule = ScheduleSpec.from_units(2)
    paper = TrialSpec(schedule=schedule)
    quarter = TrialSpec(schedule=schedule, workers=2, images_per_worker=2)
    assert paper.lr_at(1000) == pytest.approx(0.02)
    assert quarter.lr_at(1000) == pytest.approx(0.005)
    assert paper.lr_at(170_000) == pytest.approx(0.02 * 0.01)
    assert OptimizerSpec().base_lr_images == 16


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (ScheduleSpec(total=0, drops=()), "at least 1 iteration"),
        (ScheduleSpec(total=50_000), "no phase at the full rate is left"),
        (ScheduleSpec(total=60_200), "inside its warm-up of 500"),
        (ScheduleSpec(total=90, drops=(Drop(before_end=5), Drop(before_end=9)), warmup_iterations=0), "one after"),
        (ScheduleSpec(total=90, drops=(Drop(before_end=0),), warmup_iterations=0), "at least 1 before"),
        (ScheduleSpec(total=90, drops=(Drop(before_end=9, factor=0.0),), warmup_iterations=0), "above 0"),
        (ScheduleSpec(total=90, drops=(), warmup_iterations=-1), "at least 0 iterations"),
    ],
)
def test_schedules_that_cannot_be_are_refused_in_words(schedule: ScheduleSpec, words: str) -> None:
    assert any(words in problem for problem in schedule.problems())
