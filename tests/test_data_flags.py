"""Which data and which sizes of training set the command line asks for."""

import argparse
import json
from pathlib import Path

import pytest

from raystudy.commands.plan_tables import unit_line
from raystudy.data_flags import add_pair_flags, add_subset_flags, named_data, with_subsets
from raystudy.errors import SpecError
from raystudy.flags import add_study_flags, build_study
from raystudy.spec.less_data import size_axis
from raystudy.spec.presets import fraction_axis, init_axis, load_preset
from raystudy.spec.study import StudySpec
from raystudy.spec.trial import TrialSpec
from tests.data.synthetic import coco_content, write_coco

DEMO, PAPER = load_preset("demo"), load_preset("paper")


def _options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data")
    add_pair_flags(parser)
    add_subset_flags(parser)
    return parser.parse_args(arguments)


def _trials(study: StudySpec, *arguments: str) -> list[TrialSpec]:
    return [trial for _, trial in with_subsets(study, _options(*arguments)).cells()]


def _own(tmp_path: Path, images: int, *flags: str) -> StudySpec:
    content = coco_content()
    content["images"] = [{"id": n, "file_name": f"{n}.png", "width": 40, "height": 30} for n in range(1, images + 1)]
    for split in ("train", "val"):
        write_coco(tmp_path, content, f"instances_{split}.json")
    parser = argparse.ArgumentParser()
    add_study_flags(parser)
    options = parser.parse_args(["--preset", "demo", "--data", str(tmp_path), *flags])
    return build_study(
        lambda preset: StudySpec(name="s", base=preset.base, axes=(preset.schedule_axis((1, 2)),)), options
    )


def test_the_demos_1x_follows_the_size_of_ones_own_data_and_is_evaluated_as_often(tmp_path: Path) -> None:
    study = _own(tmp_path, 200)
    assert study.unit == 612  # 12.2 passes of 4 images over 200
    assert [trial.schedule.total for _, trial in study.cells()] == [612, 1224]
    assert (study.base.eval_interval, study.base.log_interval) == (204, 68)
    assert "12.2 passes over 200 images" in unit_line(study)


def test_a_unit_that_is_given_is_taken_and_the_plan_says_what_the_papers_passes_would_ask_for(tmp_path: Path) -> None:
    study = _own(tmp_path, 200, "--unit", "405")
    assert study.unit == 405
    assert (study.base.eval_interval, study.base.schedule) == (DEMO.base.eval_interval, DEMO.base.schedule)
    assert unit_line(study).endswith("with 12.2 as the paper's over COCO it would be --unit 612")


def test_sizes_are_an_axis_of_their_own_where_a_study_has_none() -> None:
    study = StudySpec(name="s", base=DEMO.base, axes=(init_axis(("random",)),))
    trials = _trials(study, "--images", "100,20")
    assert [trial.data.num_images for trial in trials] == [100, 20]
    assert {trial.schedule for trial in trials} == {DEMO.base.schedule}
    assert _trials(study) == [trial for _, trial in study.cells()]


def test_sizes_take_the_place_of_those_that_a_study_has() -> None:
    study = StudySpec(name="s", base=DEMO.base, axes=(fraction_axis((1.0, 0.1)), init_axis(("random",))))
    changed = with_subsets(study, _options("--images", "100,20", "--stratified"))
    assert [axis.name for axis in changed.axes] == ["fraction", "init"]
    trials = [trial for _, trial in changed.cells()]
    assert [(trial.data.num_images, trial.data.fraction) for trial in trials] == [(100, 1.0), (20, 1.0)]
    assert all(trial.data.stratified for trial in trials)
    assert [trial.data.fraction for trial in _trials(study, "--fractions", "0.5,0.2")] == [0.5, 0.2]


def test_a_size_keeps_its_recipe_and_another_takes_that_of_the_next_larger() -> None:
    study = StudySpec(name="s", base=PAPER.base, axes=(size_axis(PAPER, 35_000, 1_000, with_whole=True),))
    known = {trial.trial_id for _, trial in study.cells()}
    trials = _trials(study, "--images", "35000,20000,1000")
    assert len(trials) == 5 + 5 + 2
    assert {trial.trial_id in known for trial in trials if trial.data.num_images != 20_000} == {True}
    twenty = [trial for trial in trials if trial.data.num_images == 20_000]
    assert {trial.optimizer.base_lr for trial in twenty} == {0.04}
    assert [trial.schedule.name for trial in twenty] == ["2x", "3x", "4x", "5x", "6x"]


@pytest.mark.parametrize("arguments", [("--images", "0"), ("--images", "1.5"), ("--images", ""), ("--fractions", "2")])
def test_sizes_that_are_none_are_refused(arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _options(*arguments)
    assert "is no list of" in capsys.readouterr().err


def test_contradictions_are_refused(tmp_path: Path) -> None:
    study = StudySpec(name="s", base=DEMO.base)
    with pytest.raises(SpecError, match="by --images or by --fractions"):
        _trials(study, "--images", "5", "--fractions", "0.5")
    with pytest.raises(SpecError, match="come together"):
        named_data(_options("--train", "images", "some.json"))
    with pytest.raises(SpecError, match="named twice"):
        named_data(_options("--data", "folder", "--train", "a", "b", "--val", "c", "d"))


def test_a_pair_of_jsons_may_lie_anywhere(tmp_path: Path) -> None:
    train = write_coco(tmp_path / "here", coco_content(), "some.json")
    content = coco_content()
    content["images"] = content["images"][:1]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] == content["images"][0]["id"]]
    val = tmp_path / "there.json"
    val.write_text(json.dumps(content))
    pictures = str(train.parent / "images")
    data = named_data(_options("--train", pictures, str(train), "--val", pictures, str(val)))
    assert (data.train_annotations, data.val_annotations) == (str(train), str(val))
