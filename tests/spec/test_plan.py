"""What trials share is trained once: the prefix tree of their effective learning rates."""

import itertools

import pytest

from raystudy.spec.plan import Plan, Segment, make_plan
from raystudy.spec.presets import load_preset
from raystudy.spec.schedule import Drop, ScheduleSpec
from raystudy.spec.trial import TrialSpec, replaced

DEMO = load_preset("demo")
PAPER = load_preset("paper")


def _schedules(ks: tuple[float, ...]) -> list[TrialSpec]:
    return [replaced(DEMO.base, schedule=DEMO.schedule(k)) for k in ks]


def _shape(plan: Plan) -> list[tuple[str, int, int]]:
    return [(segment.kind, segment.start, segment.end) for segment in plan.segments]


def _learning_rates(plan: Plan, trial_id: str) -> list[float]:
    rates: list[float] = []
    for ref in plan.paths[trial_id]:
        segment = plan.segment(ref.segment_id)
        rates += [segment.lr_at(iteration) for iteration in range(ref.start, ref.end)]
    return rates


def _assert_exact(plan: Plan) -> None:
    """Along its path every trial sees the very learning rates of its own spec, each iteration once."""
    for trial_id, trial in plan.trials.items():
        path = plan.paths[trial_id]
        assert path[0].start == 0
        assert path[-1].end == trial.schedule.total
        assert all(before.end == after.start for before, after in itertools.pairwise(path))
        assert _learning_rates(plan, trial_id) == [trial.lr_at(i) for i in range(trial.schedule.total)]
    for segment in plan.segments:
        assert segment.parent is None or plan.segment(segment.parent).start < segment.start
        assert segment.start % segment.spec.eval_interval == 0


def test_the_papers_schedules_cost_780k_iterations_instead_of_1800k() -> None:
    plan = make_plan([replaced(PAPER.base, schedule=PAPER.schedule(k)) for k in (2, 3, 4, 5, 6)])
    assert (plan.naive_iterations, plan.shared_iterations) == (1_800_000, 780_000)
    assert _shape(plan) == [
        ("trunk", 0, 480_000),
        *[("branch", fork, fork + 60_000) for fork in (120_000, 210_000, 300_000, 390_000, 480_000)],
    ]


def test_the_demos_schedules_save_38_percent() -> None:
    plan = make_plan(_schedules((1, 2, 4, 6)))
    assert plan.shared_iterations / plan.naive_iterations == pytest.approx(0.615, abs=0.001)
    _assert_exact(plan)


def test_a_lone_trial_stays_whole() -> None:
    plan = make_plan(_schedules((4,)))
    assert _shape(plan) == [("trial", 0, 1620)]
    _assert_exact(plan)


def test_only_trials_equal_in_all_but_their_schedule_share() -> None:
    trials = _schedules((1, 2))
    others = [replaced(trial, seed=1) for trial in trials] + [replaced(trials[0], precision="bf16")]
    plan = make_plan([*trials, *others])
    assert [segment.kind for segment in plan.segments] == ["trunk", "branch", "branch"] * 2 + ["trial"]
    _assert_exact(plan)


def test_a_longer_schedule_extends_the_trunk_and_keeps_every_id() -> None:
    short, long = make_plan(_schedules((1, 2))), make_plan(_schedules((1, 2, 4)))
    kept = {segment.segment_id for segment in short.segments}
    assert kept <= {segment.segment_id for segment in long.segments}
    assert long.segments[0].segment_id == short.segments[0].segment_id
    assert (short.segments[0].end, long.segments[0].end) == (540, 1350)


def test_equal_first_drops_share_a_second_trunk() -> None:
    schedules = [
        ScheduleSpec(total=810, drops=(Drop(before_end=270), Drop(before_end=135)), warmup_iterations=60),
        ScheduleSpec(total=945, drops=(Drop(before_end=405), Drop(before_end=135)), warmup_iterations=60),
        ScheduleSpec(total=945, drops=(Drop(before_end=270),), warmup_iterations=60),
    ]
    plan = make_plan([replaced(DEMO.base, schedule=schedule) for schedule in schedules])
    _assert_exact(plan)
    assert _shape(plan) == [
        ("trunk", 0, 675),
        ("trunk", 540, 810),
        ("branch", 675, 810),
        ("branch", 810, 945),
        ("branch", 675, 945),
    ]


def test_another_decay_factor_parts_at_the_drop() -> None:
    schedules = [ScheduleSpec(total=810, drops=(Drop(before_end=270, factor=f),)) for f in (0.1, 0.02)]
    plan = make_plan([replaced(DEMO.base, schedule=schedule) for schedule in schedules])
    assert _shape(plan) == [("trunk", 0, 540), ("branch", 540, 810), ("branch", 540, 810)]
    _assert_exact(plan)


def test_a_schedule_that_is_the_beginning_of_another_costs_nothing() -> None:
    schedules = [ScheduleSpec(total=total, drops=(), warmup_iterations=0) for total in (270, 540)]
    plan = make_plan([replaced(DEMO.base, schedule=schedule) for schedule in schedules])
    assert _shape(plan) == [("trunk", 0, 540)]
    _assert_exact(plan)


def test_trials_part_at_the_last_point_of_the_grid_before_their_rates_do() -> None:
    schedules = [ScheduleSpec(total=500, drops=(Drop(before_end=b),), warmup_iterations=0) for b in (200, 100)]
    plan = make_plan([replaced(DEMO.base, schedule=schedule) for schedule in schedules])
    assert _shape(plan) == [("trunk", 0, 270), ("branch", 270, 500), ("branch", 270, 500)]
    _assert_exact(plan)


def test_trials_that_part_before_the_first_point_of_the_grid_stay_whole() -> None:
    schedules = [ScheduleSpec(total=270, drops=(Drop(before_end=b),), warmup_iterations=0) for b in (200, 190)]
    plan = make_plan([replaced(DEMO.base, schedule=schedule) for schedule in schedules])
    assert _shape(plan) == [("trial", 0, 270), ("trial", 0, 270)]
    _assert_exact(plan)


@pytest.mark.parametrize("seed", range(20))
def test_any_mix_of_schedules_is_exact_and_never_costs_more(seed: int) -> None:
    import random

    draw = random.Random(seed)
    trials = []
    for _ in range(draw.randint(2, 9)):
        total = draw.choice([270, 405, 500, 540, 810])
        drops = sorted(draw.sample([5, 67, 135, 180, 200, 260], draw.randint(0, 3)), reverse=True)
        schedule = ScheduleSpec(
            total=total,
            drops=tuple(Drop(before_end=b, factor=draw.choice([0.1, 0.02])) for b in drops),
            warmup_iterations=0,
        )
        trials.append(replaced(DEMO.base, schedule=schedule, seed=draw.randint(0, 1)))
    plan = make_plan(trials)
    _assert_exact(plan)
    assert plan.shared_iterations <= plan.naive_iterations
    assert len({segment.segment_id for segment in plan.segments}) == len(plan.segments)
    assert make_plan(trials) == plan


def test_without_sharing_every_trial_is_whole() -> None:
    plan = make_plan(_schedules((1, 2, 4)), share=False)
    assert plan.shared_iterations == plan.naive_iterations
    assert {segment.kind for segment in plan.segments} == {"trial"}


def test_equal_trials_count_once() -> None:
    assert len(make_plan(_schedules((1, 1))).trials) == 1


def test_a_segment_survives_json() -> None:
    for segment in make_plan(_schedules((1, 2))).segments:
        assert Segment.from_dict(segment.to_dict()) == segment


def test_pretraining_is_part_of_the_plan_once() -> None:
    from raystudy.spec.presets import init_axis
    from raystudy.spec.study import StudySpec

    study = StudySpec(
        name="s",
        base=DEMO.base,
        axes=(init_axis(), DEMO.schedule_axis(), DEMO.seed_axis()),
        pretraining=DEMO.pretraining,
    )
    assert len(make_plan(study.trials()).pretrainings) == 1
