"""What else varies over a study is told in the words of its axes."""

from analysis.arms import in_levels, varying
from raystudy.api import study_record
from raystudy.spec.less_data import as_few_as_voc
from raystudy.spec.plan import make_plan
from raystudy.spec.presets import init_axis, load_preset
from raystudy.spec.study import Axis, Level, StudySpec

SMOKE = load_preset("smoke")


def _others(*axes: Axis) -> list[str]:
    study = StudySpec(name="s", base=SMOKE.base, axes=axes, pretraining=SMOKE.pretraining)
    record = study_record(study, make_plan(study.trials()))
    return in_levels(varying(record["trials"].values()), record)


def _axis(name: str, **fields: tuple[object, ...]) -> Axis:
    """Levels ``0``, ``1``, … of fields by their path, with ``__`` for a dot."""
    columns = list(zip(*fields.values(), strict=True))
    paths = [path.replace("__", ".") for path in fields]
    return Axis(
        name=name,
        levels=tuple(
            Level(name=str(number), overrides=dict(zip(paths, values, strict=True)))
            for number, values in enumerate(columns)
        ),
    )


def test_a_bundle_of_fields_is_called_by_its_level() -> None:
    row = _axis("row", evaluation__flip=(False, True), optimizer__base_lr=(0.04, 0.02))
    assert _others(init_axis(), row, SMOKE.seed_axis((0, 1))) == ["row 0", "row 0", "row 1", "row 1"] * 2


def test_rows_of_a_table_that_change_the_backbone_too_are_called_by_their_levels() -> None:
    backbones = ("resnet50", "resnet101", "resnet101")
    row = _axis("row", model__backbone=backbones, evaluation__flip=(False, False, True))
    assert _others(init_axis(), row) == ["row 0", "row 1", "row 2"] * 2


def test_an_axis_is_left_out_where_its_levels_say_what_they_are_of() -> None:
    assert _others(*as_few_as_voc(SMOKE)[:2]) == [
        "all instances, 6 categories",
        "all instances, 2 categories",
        "1 instance an image, 6 categories",
        "1 instance an image, 2 categories",
    ]


def test_named_factors_are_no_part_of_it() -> None:
    assert set(_others(init_axis(), SMOKE.schedule_axis(), SMOKE.seed_axis((0, 1)))) == {""}


def test_an_axis_that_leaves_a_field_as_it_is_in_some_levels_tells_no_more_than_the_field() -> None:
    row = _axis("row", evaluation__flip=(False, True, True), seed=(0, 0, 1))
    assert _others(row) == ["evaluation.flip=False", "evaluation.flip=True", "evaluation.flip=True"]


def test_what_was_searched_for_each_init_makes_no_two_settings() -> None:
    each = Axis(
        name="init",
        levels=tuple(
            Level(name=init, overrides={"init.kind": init, "optimizer.base_lr": rate})
            for init, rate in (("random", 0.04), ("pretrained", 0.02))
        ),
    )
    row = _axis("row", evaluation__flip=(False, True))
    assert set(_others(each, SMOKE.seed_axis((0, 1)))) == {""}
    assert _others(each, row) == ["row 0", "row 1"] * 2
