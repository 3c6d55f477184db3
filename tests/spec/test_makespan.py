"""The makespan is that of the schedule that Tune runs."""

from raystudy.spec.makespan import makespan
from raystudy.spec.plan import make_plan
from raystudy.spec.presets import init_axis, load_preset
from raystudy.spec.study import StudySpec
from raystudy.spec.trial import replaced

PAPER = load_preset("paper")
TRIALS = [replaced(PAPER.base, schedule=PAPER.schedule(k)) for k in (2, 3, 4, 5, 6)]


def test_with_slots_enough_it_is_the_longest_trial() -> None:
    assert makespan(make_plan(TRIALS), 2) == 540_000
    assert makespan(make_plan(TRIALS), 9) == 540_000


def test_with_one_slot_it_is_all_iterations() -> None:
    assert makespan(make_plan(TRIALS), 1) == 780_000
    assert makespan(make_plan(TRIALS, share=False), 1) == 1_800_000


def test_unshared_trials_are_packed_longest_first() -> None:
    assert makespan(make_plan(TRIALS, share=False), 2) == 990_000  # 6x + 3x + 2x | 5x + 4x
    assert makespan(make_plan(TRIALS, share=False), 5) == 540_000


def test_pretraining_comes_before_what_waits_for_it_and_beside_what_does_not() -> None:
    demo = load_preset("demo")
    study = StudySpec(
        name="s", base=demo.base, axes=(init_axis(), demo.schedule_axis((1, 6))), pretraining=demo.pretraining
    )
    plan = make_plan(study.trials())
    assert makespan(plan, 9) == 800 + 2430
    assert makespan(plan, 1) == 800 + plan.shared_iterations
