"""Pre-training on a folder of pictures: what is listed, cut out and learned; alone, cut off, and on two workers."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image
from torch.multiprocessing.spawn import spawn

from raystudy.data.ahead import ahead
from raystudy.data.image_folder import ImageFolder
from raystudy.errors import DataError, SpecError
from raystudy.spec.presets import tiny_model
from raystudy.spec.trial import PretrainSpec
from raystudy.training.pretraining import PretrainRow, pretrain
from raystudy.training.pretraining_pictures import ImageFolderPictures, centre_crop, random_crop
from tests.picture_folders import COLOURS, write_pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures"))


def recipe(folder: Path, **changes: object) -> PretrainSpec:
    spec = PretrainSpec(
        backbone="tiny",
        norm_groups=10_000,
        data="imagefolder",
        data_path=str(folder),
        data_checksum=ImageFolder.open(folder).checksum(),
        image_size=32,
        iterations=6,
        batch_size=4,
        base_lr=0.05,
        warmup_iterations=2,
        pixels=tiny_model().pixels,
    )
    return dataclasses.replace(spec, **changes)  # type: ignore[arg-type]


def test_the_listing_has_every_picture_once_with_the_class_of_its_folder(folder: Path) -> None:
    found = ImageFolder.open(folder)
    assert found.classes == ("blue", "green", "red")
    assert (len(found.train), len(found.val)) == (21, 12)
    for index in range(21):
        path = found.train.path(index)
        assert path.is_file()
        assert path.relative_to(folder / "train").parts[0] == found.classes[found.train.labels[index]]
    assert len({found.train.path(index) for index in range(21)}) == 21


def test_the_checksum_is_that_of_content_not_of_place(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy)
    assert ImageFolder.open(copy).checksum() == ImageFolder.open(folder).checksum()
    assert recipe(copy).weights_id == recipe(folder).weights_id
    (copy / "val" / "green" / "1.jpeg").rename(copy / "val" / "green" / "9.jpeg")
    renamed = ImageFolder.open(copy).checksum()
    assert renamed != ImageFolder.open(folder).checksum()
    (copy / "train" / "green" / "1.jpeg").write_bytes(b"shorter")
    assert ImageFolder.open(copy).checksum() != renamed


def test_every_picture_comes_once_a_pass_across_batches_and_crops_differ_from_pass_to_pass(folder: Path) -> None:
    pictures = ImageFolderPictures(recipe(folder, batch_size=7))
    batches = [pictures.train_batch(iteration) for iteration in range(6)]
    labels = torch.cat([labels for _, labels in batches])
    assert labels[:21].bincount().tolist() == labels[21:].bincount().tolist() == [7, 7, 7]
    assert not torch.equal(labels[:21], labels[21:])
    assert batches[0][0].shape == (7, 3, 32, 32)
    again, _ = ImageFolderPictures(recipe(folder, batch_size=7)).train_batch(4)
    assert torch.equal(again, batches[4][0])
    other, _ = ImageFolderPictures(recipe(folder, batch_size=7, seed=1)).train_batch(4)
    assert not torch.equal(other, batches[4][0])


def test_workers_share_the_batch_of_one(folder: Path) -> None:
    spec = recipe(folder)
    whole, labels = ImageFolderPictures(spec).train_batch(3)
    parts = [ImageFolderPictures(spec, rank, 2).train_batch(3) for rank in (0, 1)]
    assert torch.equal(torch.cat([images for images, _ in parts]), whole)
    assert torch.equal(torch.cat([mine for _, mine in parts]), labels)


def test_processes_that_decode_ahead_change_nothing(folder: Path) -> None:
    pictures = ImageFolderPictures(recipe(folder))
    plain = list(ahead(pictures.train_batch, range(2, 5), 0))
    early = list(ahead(pictures.train_batch, range(2, 5), 2))
    for (images, labels), (other_images, other_labels) in zip(plain, early, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)


def test_held_out_pictures_are_the_middle_of_every_picture_of_val(folder: Path) -> None:
    images, labels = ImageFolderPictures(recipe(folder)).held_out_batch(0)
    assert labels.bincount().tolist() == [4, 4, 4]
    levels = images.to(torch.float64).mean((2, 3))
    assert (levels - torch.tensor(list(COLOURS.values()))[labels]).abs().max() < 10
    assert centre_crop(256, 320) == (16, 48, 240, 272)


def test_crops_lie_within_the_picture_and_have_the_areas_and_ratios_asked_for() -> None:
    rng = np.random.default_rng(0)
    crops = [random_crop(400, 300, rng) for _ in range(2000)]
    areas, ratios = [], []
    for left, top, right, bottom in crops:
        assert 0 <= left < right <= 400
        assert 0 <= top < bottom <= 300
        areas.append((right - left) * (bottom - top) / 120_000)
        ratios.append((right - left) / (bottom - top))
    assert 0.07 < min(areas) < 0.1
    assert 0.9 < max(areas) <= 1
    assert 0.73 < min(ratios) < 0.8
    assert 1.25 < max(ratios) < 1.35
    # No window of such a ratio fits: the middle is taken.
    assert random_crop(1000, 10, rng) == (493, 0, 506, 10)


class CutError(Exception):
    """Stands for a kill."""


def test_it_learns_and_a_run_that_is_cut_off_ends_bit_equal(folder: Path, tmp_path: Path) -> None:
    spec = recipe(folder, iterations=40, batch_size=8, lr_drops=(30,))
    whole = pretrain(spec, tmp_path / "whole")
    provenance = json.loads((tmp_path / "whole" / "provenance.json").read_text())
    assert provenance["top1"] > 0.9
    assert (provenance["distinct_images"], provenance["num_classes"], provenance["images_seen"]) == (21, 3, 320)
    assert provenance["pixels_measured_seen"] == 320 * 32 * 32
    assert provenance["data_checksum"] == spec.data_checksum

    def cut_at_20(row: PretrainRow) -> None:
        if row.iteration == 20:
            raise CutError

    with pytest.raises(CutError):
        pretrain(spec, tmp_path / "cut", cut_at_20)
    assert pretrain(spec, tmp_path / "cut", loader_processes=1).read_bytes() == whole.read_bytes()


def work(rank: int, folder: str, specs: list[PretrainSpec]) -> None:
    """One of two workers: trains each recipe at once, and again with a cut; tells the rows of both."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    for spec in specs:
        whole: list[PretrainRow] = []
        parts: list[PretrainRow] = []

        def cut_at_4(row: PretrainRow, parts: list[PretrainRow] = parts) -> None:
            parts.append(row)
            if row.iteration == 4:
                raise CutError

        pretrain(spec, Path(folder, spec.norm, "whole"), whole.append)
        with pytest.raises(CutError):
            pretrain(spec, Path(folder, spec.norm, "cut"), cut_at_4)
        pretrain(spec, Path(folder, spec.norm, "cut"), parts.append)
        told = [[(row.iteration, row.loss) for row in rows] for rows in (whole, parts)]
        Path(folder, spec.norm, f"rows-{rank}.json").write_text(json.dumps(told))
    dist.destroy_process_group()


def test_two_workers_make_the_weights_of_one_and_go_on_bit_equal(folder: Path, tmp_path: Path) -> None:
    specs = [recipe(folder, workers=2, norm=norm) for norm in ("gn", "bn")]
    spawn(work, args=(str(tmp_path), specs), nprocs=2)  # type: ignore[no-untyped-call]
    for norm in ("gn", "bn"):
        told = [json.loads((tmp_path / norm / f"rows-{rank}.json").read_text()) for rank in (0, 1)]
        assert told[0] == told[1]
        whole, parts = told[0]
        assert [iteration for iteration, _ in whole] == [1, 2, 3, 4, 5, 6]
        assert parts == whole
        files = [tmp_path / norm / name / "weights.pt" for name in ("whole", "cut")]
        assert files[0].read_bytes() == files[1].read_bytes()
    # Group norm knows no batch, so that one worker does the same sums in another order.
    alone = pretrain(recipe(folder), tmp_path / "alone")
    ours, theirs = (
        torch.load(path, weights_only=True)["backbone"] for path in (tmp_path / "gn/whole/weights.pt", alone)
    )
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5)


def test_a_recipe_for_more_workers_than_take_part_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="2 workers, but 1 take part"):
        pretrain(recipe(folder, workers=2), tmp_path)


def test_other_pictures_than_the_recipes_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="listing-"):
        pretrain(recipe(folder, data_checksum="imagenet-1k"), tmp_path)
    with pytest.raises(DataError, match="needs pictures"):
        pretrain(recipe(folder, data_path=""), tmp_path)


def test_without_val_the_same_tenth_of_each_class_is_held_out_everywhere(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "train", tmp_path / "flat")
    shutil.copytree(folder / "train", tmp_path / "half" / "train")
    flat, half = ImageFolder.open(tmp_path / "flat"), ImageFolder.open(tmp_path / "half")
    assert not ImageFolder.open(folder).is_split_off
    assert flat.is_split_off
    assert half.is_split_off
    assert "3 pictures (10% of each class) are held out" in flat.summary()
    assert flat.classes == ("blue", "green", "red")
    assert (flat.train.labels.tolist(), flat.val.labels.tolist()) == ([0] * 6 + [1] * 6 + [2] * 6, [0, 1, 2])
    assert not {*flat.train.names.tolist()} & {*flat.val.names.tolist()}
    assert flat.checksum() == half.checksum() != ImageFolder.open(folder).checksum()


def test_a_folder_that_cannot_be_used_is_refused_with_all_problems(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "bad"
    (root / "train" / "one").mkdir(parents=True)
    (root / "train" / "empty").mkdir()
    (root / "val" / "two").mkdir(parents=True)
    for name in ("train/one/a.png", "val/two/b.png"):
        Image.new("RGB", (40, 40)).save(root / name)
    with pytest.raises(DataError) as caught:
        ImageFolder.open(root)
    assert len(caught.value.problems) == 2
    with pytest.raises(DataError, match="there is no folder"):
        ImageFolder.open(tmp_path / "nowhere")
    alone = tmp_path / "alone"
    shutil.copytree(root / "train" / "one", alone / "one")
    with pytest.raises(DataError, match="has one class, one"):
        ImageFolder.open(alone)
    with pytest.raises(DataError, match="no folders of classes"):
        ImageFolder.open(folder / "train" / "green" / "deeper")


def test_a_broken_picture_is_named(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "broken"
    shutil.copytree(folder, copy)
    (copy / "val" / "green" / "1.jpeg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"green/1\.jpeg"):
        ImageFolderPictures(recipe(copy)).held_out_batch(0)
