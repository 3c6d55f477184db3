"""Preset paper of Figure 5's and Table 3's scripts: what is trained, when the cascade comes, and what is shared."""

import dataclasses
import runpy

import pytest

from analysis.paper import paper_numbers
from raystudy.errors import SpecError
from raystudy.spec.plan import make_plan
from raystudy.spec.presets import load_preset
from raystudy.spec.trial import TrialSpec
from raystudy.spec.variants import enhanced_schedules
from tests.test_paper_cells import BACKBONES, EXPERIMENTS, Cell, cell, ids, paper_study, printed

ROWS = {
    "baseline": (False, False, False),
    "train aug": (True, False, False),
    "cascade + train aug": (True, True, False),
    "cascade + train/test aug": (True, True, True),
}
"""A row of Figure 5: whether it has scale augmentation, a cascade, test-time augmentation."""


def _kind(trial: TrialSpec) -> tuple[bool, bool, bool]:
    is_scaled = trial.input.train_short_sides == (640, 672, 704, 736, 768, 800)
    assert is_scaled or trial.input.train_short_sides == (800,)
    return is_scaled, trial.model.cascade is not None, trial.evaluation.is_augmented


def _train_aug_cells() -> set[Cell]:
    """Where the paper prints the schedule: random at 9x, pre-trained at 6x."""
    return {found for model in ("R50-FPN", "R101-FPN") for found in printed("enhanced: train aug", "Fig. 5", model)}


@pytest.mark.parametrize("row", list(ROWS))
def test_figure_5_has_every_bar(row: str) -> None:
    trials = [trial for trial in paper_study("test_time_augmentation").trials() if _kind(trial) == ROWS[row]]
    numbers = paper_numbers()
    bars = numbers[(numbers["experiment"] == f"enhanced: {row}") & (numbers["metric"] == "bbox_AP")]
    told = {(model.rsplit(" ", 1)[-1], init) for model, init in zip(bars["model"], bars["init"], strict=True)}
    assert {(BACKBONES[model], init) for model, init in told} == {(t.model.backbone, t.init.kind) for t in trials}
    assert len(trials) == len(bars) == 4
    if row == "baseline":
        assert {trial.trial_id for trial in trials} < ids("schedule_length") | ids("resnet101")
    else:
        assert {cell(trial) for trial in trials} == _train_aug_cells()


def test_the_cascade_is_on_in_the_final_270k_iterations() -> None:
    trials = [t for name in ("cascade", "test_time_augmentation", "resnext") for t in paper_study(name).trials()]
    switched = [trial for trial in trials if trial.model.cascade is not None]
    numbers = paper_numbers()
    random = numbers[(numbers["experiment"] == "enhanced: cascade + train aug") & (numbers["init"] == "random")]
    assert random["schedule"].str.contains("final 270k").all()
    assert {trial.schedule.total - (trial.switch_iteration or 0) for trial in switched} == {270_000}
    cascade = switched[0].model.cascade
    assert cascade is not None
    assert cascade.foreground_ious == (0.5, 0.6, 0.7)
    assert {trial.switch_iteration for trial in switched if trial.init.kind == "random"} == {540_000}


def test_test_time_augmentation_is_detectrons_for_x152() -> None:
    augmented = [t for t in paper_study("resnext").trials() if t.evaluation.is_augmented]
    assert {trial.init.kind for trial in augmented} == {"random", "pretrained"}
    for evaluation in (trial.evaluation for trial in augmented):
        assert evaluation.scales == (400, 500, 600, 700, 900, 1000, 1100, 1200)
        assert (evaluation.scales_max_side, evaluation.flip) == (2000, True)
        assert (evaluation.merge, evaluation.vote_iou) == ("vote", 0.9)


def test_table_3_has_its_rows_and_shares_the_one_of_figure_5() -> None:
    trials = paper_study("resnext").trials()
    numbers = paper_numbers()
    models = set(numbers[(numbers["experiment"] == "large_model") & (numbers["init"] == "random")]["model"])
    assert len(models) == 4
    rows = [(t.model.backbone, *_kind(t)) for t in trials if t.init.kind == "random"]
    large = "resnext152_8x32d"
    assert rows == [
        ("resnet101", True, False, False),
        (large, True, False, False),
        (large, True, True, False),
        (large, True, True, True),
    ]
    assert {trials[0].trial_id} == ids("resnext") & ids("scale_augmentation")


def test_figures_have_their_trials_in_common() -> None:
    assert ids("cascade") < ids("test_time_augmentation")
    assert ids("scale_augmentation") < ids("test_time_augmentation")


def test_an_arm_of_figure_5_costs_its_trunk_and_two_ends() -> None:
    plan = make_plan(paper_study("test_time_augmentation").trials())
    of_random = [s for s in plan.segments if s.spec.init.kind == "random" and s.spec.model.backbone == "resnet50"]
    assert [(s.kind, s.start, s.end) for s in of_random] == [
        ("trial", 0, 540_000),
        ("trunk", 0, 750_000),
        ("branch", 750_000, 810_000),
        ("branch", 540_000, 810_000),
        ("evaluation", 810_000, 810_000),
    ]
    assert (plan.naive_iterations, plan.shared_iterations) == (10_260_000, 5_940_000)


@pytest.mark.parametrize("name", ["smoke", "demo"])
def test_smaller_presets_take_their_baselines_from_figure_1_too(name: str) -> None:
    preset = load_preset(name)
    figure_5, figure_1 = (
        dataclasses.replace(
            runpy.run_path(str(EXPERIMENTS / f"{script}.py"))["study"](preset), pretraining=preset.pretraining
        ).trials()
        for script in ("test_time_augmentation", "schedule_length")
    )
    baselines = {t.trial_id for t in figure_5 if t.model.cascade is None and len(t.input.train_short_sides) == 1}
    assert len(baselines) == 2 * len(preset.seeds)
    assert baselines < {trial.trial_id for trial in figure_1}


def test_enhanced_models_need_two_schedules_in_whatever_order() -> None:
    demo = load_preset("demo")
    assert enhanced_schedules(demo.with_schedules((4, 1, 2))) == (2, 4)
    with pytest.raises(SpecError, match="only schedule 2x is given"):
        enhanced_schedules(demo.with_schedules((2,)))
