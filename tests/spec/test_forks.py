"""Forks that are no drop of the rate: a cascade switched on, and weights evaluated with augmentation."""

import dataclasses
import itertools
import random

import pytest

from raystudy.records import SegmentRef
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.makespan import makespan
from raystudy.spec.model import CascadeSpec
from raystudy.spec.plan import Plan, Segment, make_plan
from raystudy.spec.presets import load_preset
from raystudy.spec.schedule import Drop, ScheduleSpec
from raystudy.spec.trial import TrialSpec, replaced

DEMO = load_preset("demo")
AUGMENTED = EvalSpec(batch_size=30, scales=(96, 160), flip=True)


def _trial(total: int = 90, *, final: int = 0, drops: tuple[int, ...] = (30,), **overrides: object) -> TrialSpec:
    schedule = ScheduleSpec(total=total, drops=tuple(Drop(before_end=b) for b in drops), warmup_iterations=6)
    model = dataclasses.replace(DEMO.base.model, cascade=CascadeSpec(final_iterations=final)) if final else None
    trial = replaced(DEMO.base, schedule=schedule, eval_interval=15, log_interval=15, **overrides)
    return trial if model is None else replaced(trial, model=model)


def _shape(plan: Plan) -> list[tuple[str, int, int]]:
    return [(segment.kind, segment.start, segment.end) for segment in plan.segments]


def _assert_exact(plan: Plan) -> None:
    """Along its path every trial has the learning rate and the model of its own spec at each iteration, once."""
    segments = {segment.segment_id: segment for segment in plan.segments}
    assert len(segments) == len(plan.segments)
    for trial_id, trial in plan.trials.items():
        path, total = plan.paths[trial_id], trial.schedule.total
        trained = [ref for ref in path if not ref.is_evaluation]
        assert (trained[0].start, trained[-1].end) == (0, total)
        assert all(before.end == after.start for before, after in itertools.pairwise(path))
        for ref in trained:
            segment = segments[ref.segment_id]
            assert segment.start == ref.start < ref.end <= segment.end
            assert segment.spec.evaluation == trial.evaluation.plain
            for iteration in range(ref.start, ref.end):
                assert segment.lr_at(iteration) == trial.lr_at(iteration)
            has_cascade = trial.switch_iteration is not None and ref.start >= trial.switch_iteration
            assert (segment.spec.model.cascade is not None) == has_cascade
            assert segment.model_at(ref.start) == segment.model_at(ref.end - 1) == segment.spec.model
        if trial.evaluation.is_augmented:
            assert path[-1] == SegmentRef(segment_id=path[-1].segment_id, start=total, end=total)
            assert segments[path[-1].segment_id].spec.evaluation == trial.evaluation
        assert [segments[ref.segment_id].ancestors for ref in path] == [
            tuple(ref.segment_id for ref in path[:number]) for number in range(len(path))
        ]
    for segment in plan.segments:
        for child in (child for child in plan.segments if child.parent == segment.segment_id):
            assert child.start in (*segment.forks, segment.end)


def test_trials_with_and_without_a_switch_share_the_trunk_up_to_it() -> None:
    plan = make_plan([_trial(), _trial(final=45)])
    assert _shape(plan) == [("trunk", 0, 60), ("branch", 60, 90), ("branch", 45, 90)]
    assert plan.segments[0].forks == (45, 60)
    assert plan.shared_iterations == 90 + 45
    _assert_exact(plan)


def test_a_lone_trial_is_cut_where_its_model_changes() -> None:
    plan = make_plan([_trial(final=45)])
    assert _shape(plan) == [("trunk", 0, 45), ("branch", 45, 90)]
    _assert_exact(plan)
    before, after = plan.segments
    assert (before.spec.model.cascade, after.spec.model.cascade) == (None, CascadeSpec())
    both = make_plan([_trial(final=45), _trial(final=45, drops=(15,))])
    assert both.segments[0].segment_id == before.segment_id  # a later study finds what this one has trained


def test_a_switch_before_the_drop_is_shared_by_all_schedules_that_have_it() -> None:
    plan = make_plan([_trial(90, final=60), _trial(120, final=90), _trial(120)])
    assert _shape(plan)[0] == ("trunk", 0, 90)  # of the one without
    assert ("trunk", 30, 90) in _shape(plan)  # with cascade, until the shorter one drops its rate
    _assert_exact(plan)


def test_drop_and_switch_at_one_iteration_are_one_change() -> None:
    plan = make_plan([_trial(final=30), _trial()])
    assert [change.iteration for change in plan.segments[-1].changes] == [60]
    assert plan.shared_iterations == 60 + 30 + 30
    _assert_exact(plan)


def test_different_cascades_part_where_they_are_switched_on() -> None:
    other = CascadeSpec(final_iterations=45, foreground_ious=(0.5, 0.5, 0.5))
    plan = make_plan([_trial(final=45), replaced(_trial(final=45), **{"model.cascade": other})])
    assert _shape(plan) == [("trunk", 0, 45), ("branch", 45, 90), ("branch", 45, 90)]
    _assert_exact(plan)


def test_a_cascade_from_the_start_shares_nothing_and_keeps_its_id() -> None:
    cascade = replaced(_trial(), **{"model.cascade": CascadeSpec()})
    plan = make_plan([_trial(), cascade, _trial(final=45)])
    assert ("trial", 0, 90) in _shape(plan)
    assert replaced(cascade, **{"model.cascade": CascadeSpec(final_iterations=0)}).trial_id == cascade.trial_id


def test_other_evaluations_of_the_same_weights_train_nothing() -> None:
    trials = [_trial(evaluation=evaluation) for evaluation in (EvalSpec(batch_size=30), AUGMENTED)]
    plan = make_plan(trials)
    assert _shape(plan) == [("trial", 0, 90), ("evaluation", 90, 90)]
    assert plan.shared_iterations == 90
    _assert_exact(plan)
    assert make_plan(trials[1:]).segments == plan.segments  # the weights are the plain trial's, asked for or not
    assert make_plan(trials[:1]).segments == plan.segments[:1]


def test_an_evaluation_ends_a_trial_that_ends_inside_a_trunk() -> None:
    plan = make_plan([_trial(45, drops=()), _trial(45, drops=(), evaluation=AUGMENTED), _trial(90, drops=())])
    assert _shape(plan) == [("trunk", 0, 90), ("evaluation", 45, 45)]
    assert plan.segments[0].forks == (45, 90)
    _assert_exact(plan)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_any_mix_of_schedules_switches_and_evaluations_is_exact(seed: int, share: bool) -> None:
    draw = random.Random(seed)
    trials = []
    for _ in range(draw.randint(2, 8)):
        total = draw.choice([45, 60, 75])
        drops = sorted(draw.sample([5, 7, 15, 20, 22, 29], draw.randint(0, 2)), reverse=True)
        final = draw.choice([0, 0, 15, 30])
        evaluation = draw.choice([AUGMENTED, DEMO.base.evaluation])
        trials.append(_trial(total, final=final, drops=tuple(drops), evaluation=evaluation))
    assert [problem for trial in trials for problem in trial.problems()] == []
    plan = make_plan(trials, share=share)
    _assert_exact(plan)
    assert plan.shared_iterations <= plan.naive_iterations
    assert share or plan.shared_iterations == plan.naive_iterations
    assert make_plan(trials, share=share) == plan
    assert 0 < makespan(plan, 1) <= plan.naive_iterations
    assert makespan(plan, 3) <= makespan(plan, 1)
    assert [Segment.from_dict(segment.to_dict()) for segment in plan.segments] == list(plan.segments)


def test_trials_alone_have_no_segment_in_common() -> None:
    trials = [_trial(final=f, evaluation=e) for f in (0, 45, 30) for e in (AUGMENTED, DEMO.base.evaluation)]
    plan = make_plan(trials, share=False)
    through = [plan.trials_through(segment.segment_id) for segment in plan.segments]
    assert [len(trials) for trials in through] == [1] * len(plan.segments)


def test_a_gap_before_the_fork_is_trained_with_the_model_of_its_time() -> None:
    _, branch = make_plan([_trial(final=45)]).segments
    assert [(p.end, p.spec.model.cascade is None) for p in branch.pieces(15)] == [(45, True), (90, False)]
    assert [(p.end, p.spec.model.cascade is None) for p in branch.pieces(60)] == [(90, False)]
    later = make_plan([_trial(120, final=75, drops=(15, 5)), _trial(120, final=75, drops=(15, 10))]).segments[-1]
    assert later.start == 105
    assert [(p.end, p.spec.model.cascade is None) for p in later.pieces(0)] == [
        (45, True),
        (105, False),
        (120, False),
    ]


@pytest.mark.parametrize(("final", "fits"), [(44, "30 or 45"), (90, "75"), (111, "75")])
def test_a_switch_off_the_evaluation_grid_is_refused_with_what_fits(final: int, fits: str) -> None:
    problems = _trial(final=final).problems()
    assert len(problems) == 1
    assert f"cascade.final_iterations is {final} of 90" in problems[0]
    assert fits in problems[0]


def test_a_negative_switch_is_refused() -> None:
    assert "cascade.final_iterations is -15, but must be at least 0" in " ".join(_trial(final=-15).problems())
