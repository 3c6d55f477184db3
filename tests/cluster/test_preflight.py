"""Everything that can be refused before the first iteration is refused, all of it at once."""

import dataclasses
from pathlib import Path

import pytest
import torch

from raystudy.cluster.preflight import preflight
from raystudy.cluster.settings import RunSettings
from raystudy.cluster.weights import adopt_weights
from raystudy.errors import SpecError
from raystudy.spec.plan import make_plan
from raystudy.spec.presets import load_preset
from raystudy.spec.trial import InitSpec, TrialSpec
from raystudy.store import Store
from tests.picture_folders import write_pictures
from tests.tiny_trials import settings, tiny_trial


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def _problems(trial: TrialSpec, given: RunSettings) -> str:
    with pytest.raises(SpecError) as caught:
        preflight(make_plan([trial]), given)
    return str(caught.value)


def _pretrained(path: Path) -> TrialSpec:
    init = InitSpec(kind="pretrained", weights_id="mine", weights_file=str(path))
    return dataclasses.replace(tiny_trial(), init=init)


def test_a_good_plan_passes(tmp_path: Path) -> None:
    preflight(make_plan([tiny_trial()]), settings(tmp_path / "s"))


def test_all_problems_come_together(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    trial = dataclasses.replace(_pretrained(tmp_path / "gone.pth"), workers=512, images_per_worker=1)
    text = _problems(trial, RunSettings(storage=str(tmp_path), study="s", threads=8))
    assert "not empty and was not made by raystudy" in text
    assert "512 workers with 8 threads each needs 4096 CPUs, but this machine has" in text
    assert "gone.pth does not exist; check --weights" in text


def test_a_study_that_is_refused_makes_no_storage(tmp_path: Path) -> None:
    given = RunSettings(storage=str(tmp_path / "new" / "s"), study="s")
    preflight(make_plan([tiny_trial()]), given)
    assert "does not exist" in _problems(_pretrained(tmp_path / "gone.pth"), given)
    assert list(tmp_path.iterdir()) == []


def test_the_paper_preset_without_data_and_weights_says_what_to_give(tmp_path: Path) -> None:
    preset = load_preset("paper")
    init = InitSpec(kind="pretrained", weights_id="x", pretrain=preset.pretraining)
    text = _problems(dataclasses.replace(preset.base, init=init), settings(tmp_path / "s"))
    assert "give a folder with --data FOLDER" in text
    assert "give a weights file with --weights FILE, or a folder of labelled pictures with --pretrain-data" in text
    assert "BN weights do not fit a GN network" in text


def test_a_weights_file_that_does_not_fit_is_refused_with_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"conv1.weight": torch.zeros(8, 3, 3, 3)}, path)
    assert "conv1.weight" in _problems(_pretrained(path), settings(tmp_path / "s"))


def test_a_weights_file_that_fits_is_copied_into_the_storage_once(tmp_path: Path) -> None:
    from raystudy.models.detector import build_detector

    trial = _pretrained(tmp_path / "mine.pth")
    detector = build_detector(trial.model, trial.data.num_categories, trial.evaluation)
    pixels = {"order": "bgr", "mean": list(trial.model.pixels.mean), "std": list(trial.model.pixels.std)}
    torch.save({"backbone": detector.backbone.state_dict(), "meta": {"pixels": pixels}}, tmp_path / "mine.pth")
    given = settings(tmp_path / "s")
    preflight(make_plan([trial]), given)
    store = Store.open(given.storage)
    adopt_weights(store, trial.init)
    adopted = store.weights_folder(trial.init.weights_id) / "weights.pt"
    assert adopted.read_bytes() == (tmp_path / "mine.pth").read_bytes()
    (tmp_path / "mine.pth").unlink()
    adopt_weights(store, trial.init)  # needs the file no more


def test_pictures_that_changed_since_the_plan_was_made_are_refused_unless_their_weights_are_there(
    tmp_path: Path,
) -> None:
    from raystudy.data.image_folder import ImageFolder
    from raystudy.spec.pretraining import on_folder
    from raystudy.spec.trial import with_pretraining

    folder, given = write_pictures(tmp_path / "p"), settings(tmp_path / "s")
    smoke = load_preset("smoke").pretraining
    assert smoke is not None
    recipe = on_folder(smoke, str(folder), ImageFolder.open(folder).checksum(), 21)
    trial = with_pretraining(dataclasses.replace(tiny_trial(), init=InitSpec(kind="pretrained")), recipe)
    preflight(make_plan([trial]), given)
    (folder / "train" / "red" / "1.jpeg").unlink()
    assert "holds listing-" in _problems(trial, given)
    store = Store.open(given.storage)
    store.files.publish(store.weights_place(trial.init.weights_id), lambda _: None)
    preflight(make_plan([trial]), given)
