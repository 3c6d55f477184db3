"""The flags on weights: a file, torchvision's name, or pictures to make them from."""

import argparse
from pathlib import Path

import pytest

from raystudy.errors import DataError, SpecError
from raystudy.flags import add_study_flags, build_study
from raystudy.spec.plan import make_plan
from raystudy.spec.presets import Preset, init_axis
from raystudy.spec.study import StudySpec
from raystudy.spec.trial import InitSpec
from tests.picture_folders import write_pictures


def _study(preset: Preset) -> StudySpec:
    return StudySpec(name="s", base=preset.base, axes=(init_axis(), preset.schedule_axis((1,))))


def _init(*flags: str) -> InitSpec:
    """Of the study's pretrained trial."""
    parser = argparse.ArgumentParser()
    add_study_flags(parser)
    study = build_study(_study, parser.parse_args(["--preset", "smoke", *flags]))
    random, pretrained = study.trials()
    assert random.init == InitSpec()
    return pretrained.init


def test_weights_are_made_from_a_folder_of_pictures_as_a_node_of_the_plan(tmp_path: Path) -> None:
    write_pictures(tmp_path / "p")
    init = _init("--pretrain-data", str(tmp_path / "p"))
    assert init.pretrain is not None
    assert (init.pretrain.data, init.pretrain.data_path) == ("imagefolder", str(tmp_path / "p"))
    assert init.pretrain.data_checksum.startswith("listing-")
    assert init.pretrain.backbone == "tiny"
    assert init.weights_id == init.pretrain.weights_id != _init().weights_id


def test_a_study_and_the_command_make_the_same_weights(tmp_path: Path) -> None:
    from raystudy import cli
    from raystudy.store import Store

    write_pictures(tmp_path / "p")
    storage = tmp_path / "s"
    arguments = ["pretrain", "--preset", "smoke", "--data", str(tmp_path / "p"), "--norm", "bn"]
    assert cli.main([*arguments, "--storage", str(storage), "--device", "cpu"]) == 0
    store = Store.open(storage)
    init = _init("--pretrain-data", str(tmp_path / "p"), "--norm", "sync_bn")
    assert store.has_weights(init.weights_id)
    known = store.weights_provenance(init.weights_id)
    assert known is not None
    assert (known.num_classes, known.images_seen) == (3, 10 * 64)


def test_a_weights_file_and_what_it_has_seen_are_the_users_word(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(b"weights")
    init = _init("--weights", str(tmp_path / "mine.pth"), "--weights-images", "1000")
    assert (init.weights_file, init.weights_images) == (str(tmp_path / "mine.pth"), 1000)
    assert init.weights_id == _init("--weights", str(tmp_path / "mine.pth")).weights_id


def test_torchvisions_weights_go_by_name_without_a_network() -> None:
    parser = argparse.ArgumentParser()
    add_study_flags(parser)
    study = build_study(
        _study, parser.parse_args(["--preset", "paper", "--norm", "sync_bn", "--weights", "torchvision"])
    )
    plan = make_plan(study.trials())
    inits = {trial.init for trial in plan.trials.values()} - {InitSpec()}
    assert inits == {
        InitSpec(
            kind="pretrained",
            weights_id="resnet50-0676ba61-0676ba61",
            weights_file="torchvision:resnet50/IMAGENET1K_V1",
        )
    }
    assert not plan.pretrainings


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        _init("--weights", "a.pth", "--pretrain-data", "b", "--weights-images", "-1")
    assert len(caught.value.problems) == 2
    with pytest.raises(SpecError, match="add --weights FILE"):
        _init("--weights-images", "5")
    with pytest.raises(SpecError, match="does not exist; check --weights"):
        _init("--weights", str(tmp_path / "gone.pth"))
    with pytest.raises(DataError, match="there is no folder"):
        _init("--pretrain-data", str(tmp_path / "gone"))
