"""The commands on finished trials, as they are typed: what they print and write, and how they refuse."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raystudy import cli
from raystudy.finished import FinishedTrial
from tests.finished_trials import trained


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> FinishedTrial:
    return trained(tmp_path_factory.mktemp("commands") / "s")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "street.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 80, 3), dtype=np.uint8)).save(path)
    return path


def _given(trial: FinishedTrial, command: str, *flags: str) -> int:
    return cli.main([command, f"{trial.store.scratch}/{trial.trial_id[:-2]}", *flags])


def test_an_evaluation_is_printed_beside_the_trials_own_and_made_once(
    trial: FinishedTrial, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--scales", "64,96", "--flip", "--merge", "vote", "--score-threshold", "0.1", "--device", "cpu")
    assert _given(trial, "evaluate", *flags) == 0
    first = capsys.readouterr().out
    assert "shorter sides 64, 96, each also mirrored, merged by vote, scores from 0.1" in first
    assert "trained with" in first
    assert any(line.startswith("box ap ") for line in first.splitlines())
    monkeypatch.setattr("raystudy.training.evaluate.load_detector", lambda *_: pytest.fail("it was evaluated again"))
    assert _given(trial, "evaluate", *flags) == 0
    assert capsys.readouterr().out.rstrip() == f"{first.rstrip()}; evaluated before and kept in the storage"


def test_an_evaluation_that_cannot_be_is_refused_with_every_reason(
    trial: FinishedTrial, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _given(trial, "evaluate", "--scales", "0", "--nms", "2", "--detections", "0") == 2
    told = capsys.readouterr().err
    assert "3 problems" in told
    assert "Traceback" not in told


def test_a_trial_is_exported_and_predicts_from_there(
    trial: FinishedTrial, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _given(trial, "export", "--output", str(tmp_path / "out")) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"weights.pt", "trial.json"}
    drawn = ("--score", "0", "--device", "cpu", "--output")
    assert cli.main(["predict", str(tmp_path / "out"), str(picture), *drawn, str(tmp_path / "exported")]) == 0
    from_export = capsys.readouterr().out.splitlines()[-1]
    assert _given(trial, "predict", str(picture), *drawn, str(tmp_path / "kept")) == 0
    from_storage = capsys.readouterr().out.splitlines()[-1]
    assert from_export.split(" -> ")[0] == from_storage.split(" -> ")[0]
    files = [(tmp_path / folder / "street.png").read_bytes() for folder in ("exported", "kept")]
    assert files[0] == files[1]


def test_a_picture_that_was_given_is_never_written_over(
    trial: FinishedTrial, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = picture.read_bytes()
    assert _given(trial, "predict", str(picture), "--device", "cpu", "--output", str(picture.parent)) == 0
    assert picture.read_bytes() == before
    assert (picture.parent / "street-2.png").is_file()


def test_validation_pictures_are_drawn_with_their_annotations(
    trial: FinishedTrial, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _given(trial, "predict", "--validation", "2", "--device", "cpu", "--output", str(tmp_path / "drawn")) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(list((tmp_path / "drawn").glob("*.png"))) == 2


def test_all_that_is_wrong_with_a_prediction_is_told_at_once(
    trial: FinishedTrial, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("words")
    pictures = (str(tmp_path / "notes.txt"), str(tmp_path / "nothing.jpg"))
    assert cli.main(["predict", f"{trial.store.scratch}/vgg", *pictures, "--score", "2", "--validation", "0"]) == 2
    told = capsys.readouterr().err
    assert "5 problems" in told
    for part in (
        "has no trial 'vgg'",
        "notes.txt is no picture",
        "nothing.jpg is not there",
        "--score",
        "--validation",
    ):
        assert part in told


def test_pictures_that_break_off_are_told_after_the_others_are_drawn(
    trial: FinishedTrial, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, output = tmp_path / "broken.jpg", tmp_path / "drawn"
    Image.open(picture).save(broken)
    broken.write_bytes(broken.read_bytes()[:-900])  # its head says what size it has
    assert _given(trial, "predict", str(broken), str(picture), "--device", "cpu", "--output", str(output)) == 2
    assert "broken.jpg cannot be read" in capsys.readouterr().err
    assert [path.name for path in output.iterdir()] == ["street.png"]


def test_two_storages_at_once_are_refused(trial: FinishedTrial, capsys: pytest.CaptureFixture[str]) -> None:
    assert _given(trial, "export", "--output", "x", "--storage", "elsewhere") == 2
    assert "give one of them" in capsys.readouterr().err


def test_torchvision_has_no_model_of_a_tiny_detector(
    trial: FinishedTrial, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _given(trial, "export", "--output", str(tmp_path / "out"), "--format", "torchvision") == 2
    assert "backbone is tiny, but torchvision's is resnet50" in capsys.readouterr().err
