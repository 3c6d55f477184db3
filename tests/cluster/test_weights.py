"""Weights in a storage: made in this process or by workers of Ray Train, gone on with, brought by the user."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch

from raystudy.cluster import weights
from raystudy.cluster.weights import adopt_weights, make_weights
from raystudy.data.image_folder import ImageFolder
from raystudy.errors import DataError, DivergedError, TrainingError
from raystudy.spec.presets import load_preset, tiny_model
from raystudy.spec.pretraining import on_folder
from raystudy.spec.trial import InitSpec, PretrainSpec, recipe_for
from raystudy.store import Store, work_place
from raystudy.training.pretraining import PretrainRow, pretrain
from tests.picture_folders import write_pictures
from tests.tiny_trials import settings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures"))


def recipe(folder: Path, **changes: object) -> PretrainSpec:
    smoke = load_preset("smoke").pretraining
    assert smoke is not None
    found = ImageFolder.open(folder)
    made = on_folder(recipe_for(tiny_model(), smoke), str(folder), found.checksum(), len(found.train))
    short = dataclasses.replace(made, iterations=6, batch_size=4, image_size=32, warmup_iterations=2)
    return dataclasses.replace(short, **changes)  # type: ignore[arg-type]


class CutError(Exception):
    """Stands for a kill."""


def test_it_goes_on_where_a_dead_process_left_and_publishes_the_whole(folder: Path, tmp_path: Path) -> None:
    spec, given, other = recipe(folder), settings(tmp_path / "s"), settings(tmp_path / "other")
    store = Store.open(given.storage)

    def cut_at_4(row: PretrainRow) -> None:
        if row.iteration == 4:
            raise CutError

    with pytest.raises(CutError):
        pretrain(spec, (store.scratch / work_place(spec.weights_id)), cut_at_4)
    assert not store.has_weights(spec.weights_id)
    made = make_weights(spec, given, in_workers=False)
    whole = make_weights(spec, other, in_workers=False)
    assert (made / "weights.pt").read_bytes() == (whole / "weights.pt").read_bytes()
    assert not (store.scratch / work_place(spec.weights_id)).exists()
    known = store.weights_provenance(spec.weights_id)
    assert known is not None
    assert (known.images_seen, known.num_classes, known.recipe) == (24, 3, known.recipe)
    assert known.recipe is not None
    assert known.recipe["data_path"] == ""
    shutil.rmtree(made)
    assert store.pretraining_progress(spec.weights_id) is None


def test_in_an_object_store_it_goes_on_from_the_checkpoint_there_on_any_machine(
    folder: Path, tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, given = recipe(folder), dataclasses.replace(settings(tmp_path / "s"), storage=s3)
    store, keep, kept = Store.open(s3, create=True), weights._keep, []

    def cut_after_4(store: Store, weights_id: str, work: Path) -> None:
        keep(store, weights_id, work)
        kept.append(len(kept) + 1)
        if len(kept) == 4:
            raise CutError

    monkeypatch.setattr(weights, "_keep", cut_after_4)
    with pytest.raises(CutError):
        make_weights(spec, given, in_workers=False)
    assert not store.has_weights(spec.weights_id)
    assert store.pretraining_progress(spec.weights_id) is not None
    shutil.rmtree(tmp_path / "cache")  # and now on another machine
    made = make_weights(spec, given, in_workers=False)
    assert len(kept) == 6, "nothing is trained twice"
    whole = make_weights(spec, settings(tmp_path / "other"), in_workers=False)
    assert (made / "weights.pt").read_bytes() == (whole / "weights.pt").read_bytes()
    assert store.files.names("weights") == [spec.weights_id]
    assert store.pretraining_progress(spec.weights_id) is None


def test_weights_that_are_there_are_not_changed_by_who_comes_later(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s", create=True)
    for text in ("first", "second"):
        (tmp_path / text).write_text(text)
        weights._publish(store, "w", tmp_path / text, {"source": text}, exclusive=True)
    assert (store.weights_folder("w") / "weights.pt").read_text() == "first"


def test_a_file_that_is_brought_keeps_what_is_known_and_what_the_user_says(folder: Path, tmp_path: Path) -> None:
    store = Store.open(settings(tmp_path / "s").storage)
    own = make_weights(recipe(folder), settings(tmp_path / "elsewhere"), in_workers=False) / "weights.pt"
    adopt_weights(store, InitSpec(kind="pretrained", weights_id="own", weights_file=str(own)))
    known = store.weights_provenance("own")
    assert known is not None
    assert (known.source, known.images_seen, known.weights_id) == ("raystudy pretrain", 24, "own")

    foreign = tmp_path / "foreign.pth"
    torch.save({"conv1.weight": torch.zeros(1)}, foreign)
    init = InitSpec(kind="pretrained", weights_id="foreign", weights_file=str(foreign))
    adopt_weights(store, init)
    known = store.weights_provenance("foreign")
    assert known is not None
    assert (known.source, known.images_seen) == ("file", None)
    foreign.unlink()
    adopt_weights(store, dataclasses.replace(init, weights_images=700))
    known = store.weights_provenance("foreign")
    assert known is not None
    assert (known.images_seen, known.pixels_nominal_seen) == (700, 700 * 224 * 224)
    assert (store.weights_folder("foreign") / "weights.pt").is_file()


def test_pictures_and_rates_that_cannot_be_are_refused_here(folder: Path, tmp_path: Path) -> None:
    given = settings(tmp_path / "s")
    with pytest.raises(DataError, match="the recipe was made for the pictures imagenet-1k"):
        make_weights(recipe(folder, data_checksum="imagenet-1k"), given, in_workers=False)
    with pytest.raises(DivergedError, match="base_lr"):
        make_weights(recipe(folder, norm="none", base_lr=1e30, optimizer="sgd"), given, in_workers=False)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_two_workers_of_ray_train_make_the_weights_of_one_and_tell_what_cannot_be(folder: Path, tmp_path: Path) -> None:
    given, other = settings(tmp_path / "two"), settings(tmp_path / "one")
    two = make_weights(recipe(folder, workers=2), given, in_workers=True)
    one = make_weights(recipe(folder), other, in_workers=False)
    ours, theirs = (torch.load(path / "weights.pt", weights_only=True)["backbone"] for path in (two, one))
    for name, value in theirs.items():  # group norm knows no batch: the same sums, in another order
        torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=1e-4)
    known = Store.open(given.storage).weights_provenance(recipe(folder, workers=2).weights_id)
    assert known is not None
    assert (known.workers, known.images_seen) == (2, 24)
    with pytest.raises(TrainingError, match="base_lr"):
        make_weights(recipe(folder, workers=2, norm="none", base_lr=1e30, optimizer="sgd"), given, in_workers=True)
