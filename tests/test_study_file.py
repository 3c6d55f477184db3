"""A study as a file is the study that was written, and never another one."""

from pathlib import Path

import pytest
import yaml

from raystudy.cli import main
from raystudy.errors import SpecError
from raystudy.spec.presets import init_axis, load_preset, norm_axis
from raystudy.spec.study import StudySpec
from raystudy.study_file import read_study, write_study


def study(preset: str = "smoke") -> StudySpec:
    made = load_preset(preset)
    return StudySpec(
        name="written",
        base=made.base,
        axes=(init_axis(), norm_axis(("gn", "bn")), made.schedule_axis()),
        pretraining=made.pretraining,
        preset=preset,
        unit=made.unit,
    )


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
@pytest.mark.parametrize("preset", ["smoke", "demo", "paper"])
def test_a_study_is_read_as_it_was_written(tmp_path: Path, preset: str, suffix: str) -> None:
    path = tmp_path / f"study{suffix}"
    if preset == "paper":
        made = load_preset(preset)
        written = StudySpec(name="written", base=made.base, axes=(made.schedule_axis(),), preset=preset, unit=made.unit)
    else:
        written = study(preset)
    write_study(path, written)
    read = read_study(path)
    assert [trial.trial_id for trial in read.trials()] == [trial.trial_id for trial in written.trials()]
    assert read.trials() == written.trials()
    assert (read.name, read.preset, read.unit, read.pretraining) == (
        "written",
        preset,
        written.unit,
        written.pretraining,
    )


def test_a_file_holds_no_defaults(tmp_path: Path) -> None:
    write_study(tmp_path / "study.yaml", study("paper"))
    content = yaml.safe_load((tmp_path / "study.yaml").read_text())
    assert content["study"]["base"] == {"schedule": {"total": 90000, "label": "1x"}}


def test_an_edited_number_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    write_study(path, study())
    path.write_text(path.read_text().replace("base_lr: 0.04", "base_lr: 0.02"))
    with pytest.raises(SpecError, match="names other trials than its study means"):
        read_study(path)
    write_study(path, read_study(path, check_trials=False))
    assert {trial.optimizer.base_lr for trial in read_study(path).trials()} == {0.02}


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    write_study(path, study())
    text = path.read_text().replace("base_lr: 0.04", "base_lr: fast").replace("num_fcs: 2", "num_fc: 2")
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        read_study(path)
    assert len(caught.value.problems) == 2
    assert "base_lr" in str(caught.value)
    assert "num_fc" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("study.toml", "", "must end with"),
        ("study.yaml", "a: [", "not sound yaml"),
        ("study.json", "{", "not sound json"),
        ("study.yaml", "- 1", "has no mapping `study`"),
        ("study.yaml", "study: {name: x}\nother: 1", "nothing reads that"),
        ("study.yaml", "study: {name: x}", "lacks base"),
    ],
)
def test_what_is_no_study_is_refused_with_a_word(tmp_path: Path, name: str, content: str, told: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(SpecError, match=told):
        read_study(tmp_path / name)


def test_plan_saves_what_run_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "study.yaml"
    assert main(["plan", "experiments/schedule_length.py", "--preset", "smoke", "--save", str(path)]) == 0
    of_script = capsys.readouterr().out
    assert main(["plan", str(path)]) == 0
    of_file = capsys.readouterr().out
    assert of_file.split("Cost:")[0] in of_script
    assert main(["plan", str(path), "--seeds", "3"]) == 0
    assert "12 trials" in capsys.readouterr().out


def test_flags_that_a_file_has_in_it_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "study.yaml"
    write_study(path, study())
    assert main(["run", str(path), "--preset", "demo", "--unit", "3"]) == 2
    assert "--preset, --unit cannot change a study file" in capsys.readouterr().err
    assert main(["run", str(tmp_path / "none.yaml")]) == 2
    assert "cannot read" in capsys.readouterr().err
