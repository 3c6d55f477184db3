"""A study is a base and its axes; cells that cannot be are refused together."""

import pytest

from raystudy.errors import SpecError
from raystudy.spec.presets import fraction_axis, init_axis, load_preset, norm_axis
from raystudy.spec.study import Axis, Level, StudySpec
from raystudy.spec.trial import TrialSpec


def _study(**changes: object) -> StudySpec:
    preset = load_preset("smoke")
    fields: dict[str, object] = {
        "name": "schedules",
        "base": preset.base,
        "axes": (init_axis(), preset.schedule_axis()),
        "pretraining": preset.pretraining,
    }
    return StudySpec(**{**fields, **changes})  # type: ignore[arg-type]


def test_trials_are_every_combination_of_levels() -> None:
    cells = _study().cells()
    assert [list(levels.values()) for levels, _ in cells] == [
        ["random", "1x"],
        ["random", "2x"],
        ["pretrained", "1x"],
        ["pretrained", "2x"],
    ]
    assert len({trial.trial_id for _, trial in cells}) == 4


def test_pretrained_cells_get_weights_of_their_own_norm() -> None:
    study = _study(axes=(init_axis(("pretrained",)), norm_axis(("gn", "sync_bn", "bn", "frozen_bn"))))
    weights = {names["norm"]: trial.init.weights_id for names, trial in study.cells()}
    assert weights["gn"] != weights["bn"]
    assert weights["bn"] == weights["sync_bn"] == weights["frozen_bn"]  # BN weights fit all of its kin


def test_all_invalid_cells_are_refused_at_once_each_with_what_to_do() -> None:
    study = _study(
        axes=(init_axis(), norm_axis(("gn", "layer", "frozen_bn")), fraction_axis((1.0, 2.0))), pretraining=None
    )
    with pytest.raises(SpecError) as caught:
        study.trials()
    text = str(caught.value)
    assert "norm is 'layer', but must be one of gn, sync_bn, bn, frozen_bn, none" in text
    assert "data fraction is 2, but must be in (0, 1]" in text
    assert "frozen_bn with random init" in text
    assert "BN weights do not fit a GN network" in text
    assert "--weights FILE" in text


def test_excluded_cells_are_left_out() -> None:
    study = _study(excluded=({"init": "random", "schedule": "2x"},))
    assert [tuple(names.values()) for names, _ in study.cells()] == [
        ("random", "1x"),
        ("pretrained", "1x"),
        ("pretrained", "2x"),
    ]


def test_an_axis_given_twice_or_without_levels_is_refused() -> None:
    study = _study(axes=(init_axis(), init_axis(), Axis(name="seed", levels=())))
    assert "axis init is given twice" in study.problems()
    assert "axis seed has no level" in study.problems()


def test_with_axis_replaces_an_axis_of_that_name() -> None:
    study = _study().with_axis(init_axis(("random",)))
    assert [axis.name for axis in study.axes] == ["init", "schedule"]
    assert len(study.cells()) == 2


def test_a_level_may_tie_several_fields() -> None:
    tied = Axis(name="arm", levels=(Level(name="tuned", overrides={"optimizer.base_lr": 0.02, "seed": 3}),))
    (trial,) = _study(axes=(tied,)).trials()
    assert (trial.optimizer.base_lr, trial.seed) == (0.02, 3)


def test_a_study_survives_json() -> None:
    study = _study()
    again = StudySpec.from_dict(study.to_dict())
    assert [trial.trial_id for trial in again.trials()] == [trial.trial_id for trial in study.trials()]
    assert all(isinstance(trial, TrialSpec) for trial in again.trials())
