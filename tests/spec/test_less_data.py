"""The paper's recipes with less data and on VOC, number by number."""

import pytest

from raystudy.spec.less_data import SIZES, as_few_as_voc, retuned, size_axis
from raystudy.spec.presets import load_preset
from raystudy.spec.study import Level, StudySpec
from raystudy.spec.trial import TrialSpec, replaced
from raystudy.spec.voc import voc_recipe, voc_schedules

PAPER = load_preset("paper")


def _trial(level: Level) -> TrialSpec:
    return replaced(PAPER.base, **level.overrides)


def test_35k_images_are_trained_as_printed() -> None:
    trials = [_trial(level) for level in SIZES[35_000].levels(PAPER)]
    assert [trial.schedule.label for trial in trials] == ["2x", "3x", "4x", "5x", "6x"]
    for trial in trials:
        assert trial.data.num_images == 35_000
        assert trial.lr_at(trial.schedule.total - 60_001) == 0.04
        assert trial.lr_at(trial.schedule.total - 1) == pytest.approx(0.04 * 0.02)
        assert (trial.input.train_short_sides[0], trial.input.train_short_sides[-1]) == (512, 800)
        assert trial.problems() == []


def test_10k_images_have_the_five_schedules_of_the_figure() -> None:
    schedules = [_trial(level).schedule for level in SIZES[10_000].levels(PAPER)]
    assert [one.name for one in schedules] == ["60k", "100k", "140k", "180k", "220k"]
    assert {one.total - one.milestones[0] for one in schedules} == {20_000}


def test_1k_images_drop_where_the_curves_do() -> None:
    schedules = [_trial(level).schedule for level in SIZES[1_000].levels(PAPER)]
    assert [(one.total, one.milestones) for one in schedules] == [(15_000, (5_000,)), (35_000, (25_000,))]


def test_all_images_are_the_trials_of_figure_1() -> None:
    levels = size_axis(PAPER, 35_000, with_whole=True).levels
    expected = [replaced(PAPER.base, **level.overrides).trial_id for level in PAPER.schedule_axis().levels]
    assert [_trial(level).trial_id for level in levels[:5]] == expected


@pytest.mark.parametrize("name", ["smoke", "demo"])
def test_smaller_presets_take_shares_their_own_schedules_and_scaled_sides(name: str) -> None:
    preset = load_preset(name)
    study = StudySpec(name="s", base=preset.base, axes=(size_axis(preset, *SIZES),))
    trials = study.trials()
    assert {trial.data.fraction for trial in trials} == {0.3, 0.1, 0.03, 0.01}
    assert {trial.schedule.total for trial in trials} == {preset.schedule(k).total for k in preset.schedules}
    sides = retuned(preset)["input.train_short_sides"]
    assert (sides[0], sides[-1]) == (82, 128)


def test_voc_is_trained_as_printed() -> None:
    trials = [replaced(_trial(level), **voc_recipe(PAPER)) for level in voc_schedules(PAPER).levels]
    assert [trial.schedule.name for trial in trials] == ["18k", "144k"]
    assert trials[0].schedule.milestones == (12_000, 16_000)
    for trial in trials:
        assert (trial.model.backbone, trial.model.norm, trial.model.mask_head) == ("resnet101", "gn", None)
        assert trial.problems() == []


def test_vocs_want_of_instances_and_categories_is_tested_alone_and_together() -> None:
    for preset, few in ((PAPER, (2, 20)), (load_preset("demo"), (1, 2))):
        study = StudySpec(name="s", base=preset.base, axes=as_few_as_voc(preset))
        data = [trial.data for trial in study.trials()]
        all_categories = preset.base.data.num_categories
        assert [(one.instances_per_image, one.num_categories) for one in data] == [
            (None, all_categories),
            (None, few[1]),
            (few[0], all_categories),
            few,
        ]
        assert len({(one.num_images, one.fraction) for one in data}) == 1
        assert len({trial.schedule for trial in study.trials()}) == 1
