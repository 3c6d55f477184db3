import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from raystudy.data.batch import Batch
from raystudy.data.coco import CocoDataset
from raystudy.data.loader import EvalLoader, TrainLoader, global_batch, open_split
from raystudy.data.order import DataOrder
from raystudy.data.picture_store import PictureStore
from raystudy.errors import DataError
from raystudy.spec.data import InputSpec
from tests.data.synthetic import coco_content, shapes_spec, shared, trial, write_coco


def assert_same(first: Batch, second: Batch) -> None:
    assert first.image_ids == second.image_ids
    assert torch.equal(first.images, second.images)
    for a, b in zip(first.targets, second.targets, strict=True):
        assert torch.equal(a.boxes, b.boxes)
        assert torch.equal(a.labels, b.labels)
        assert a.masks is not None
        assert b.masks is not None
        instances = torch.arange(len(a.boxes))
        assert torch.equal(a.masks.crop(a.boxes, instances, 14), b.masks.crop(b.boxes, instances, 14))


def test_every_epoch_sees_every_picture_once() -> None:
    stream = np.concatenate([global_batch(0, iteration, 10, 4) for iteration in range(5)])
    assert Counter(stream[:10].tolist()) == Counter(stream[10:].tolist()) == Counter(range(10))
    assert stream[:10].tolist() != stream[10:].tolist()
    assert stream.tolist() != np.concatenate([global_batch(1, i, 10, 4) for i in range(5)]).tolist()


def test_the_order_is_a_function_of_the_iteration_alone() -> None:
    order = DataOrder(3, 17, 6, np.arange(17) % 3 == 0, 2)
    forwards = [order.batch(iteration).tolist() for iteration in range(60)]
    fresh = DataOrder(3, 17, 6, np.arange(17) % 3 == 0, 2)
    assert [fresh.batch(iteration).tolist() for iteration in reversed(range(60))] == forwards[::-1]


@pytest.mark.parametrize(("num_images", "group"), [(17, 2), (5, 3), (3, 4), (1, 2)])
def test_groups_hold_one_orientation_and_pictures_come_equally_often(num_images: int, group: int) -> None:
    is_wide = np.arange(num_images) % 3 == 0
    order = DataOrder(0, num_images, 2 * group, is_wide, group)
    round_length = num_images * group
    iterations = 2 * round_length // (2 * group)
    stream = np.concatenate([order.batch(iteration) for iteration in range(iterations)])
    assert set(np.bincount(stream[:round_length])) == {group}
    for chunk in stream.reshape(-1, group):
        assert len(set(is_wide[chunk])) == 1


def test_one_orientation_is_as_without_groups() -> None:
    for iteration in range(20):
        grouped = DataOrder(0, 11, 4, np.ones(11, dtype=bool), 2).batch(iteration)
        assert grouped.tolist() == global_batch(0, iteration, 11, 4).tolist()


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_take_slices_of_the_same_global_batch(world: int) -> None:
    spec = trial(shapes_spec())
    dataset = open_split(spec.data, "train")
    whole = TrainLoader(dataset, spec, 0, 1)
    parts = [TrainLoader(dataset, spec, rank, world) for rank in range(world)]
    for iteration in (0, 7, 100):
        batch = whole.batch(iteration)
        slices = [part.batch(iteration) for part in parts]
        assert torch.equal(batch.images, torch.cat([part.images for part in slices]))
        assert batch.image_ids == [image_id for part in slices for image_id in part.image_ids]
    with pytest.raises(ValueError, match="cannot share"):
        TrainLoader(dataset, spec, 0, 3)


def test_batches_may_start_anywhere_and_loader_processes_change_no_bit() -> None:
    spec = trial(shapes_spec())
    dataset = open_split(spec.data, "train")
    here = list(TrainLoader(dataset, spec, 1, 2).batches(0, 5))
    for first, second in zip(here[3:], TrainLoader(dataset, spec, 1, 2).batches(3, 5), strict=True):
        assert_same(first, second)
    elsewhere = list(TrainLoader(open_split(spec.data, "train"), spec, 1, 2, loader_processes=2).batches(0, 5))
    for first, second in zip(here, elsewhere, strict=True):
        assert_same(first, second)


def test_seed_decides_order_and_augmentation() -> None:
    spec = trial(shapes_spec())
    dataset = open_split(spec.data, "train")
    other = dataclasses.replace(spec, seed=1)
    assert TrainLoader(dataset, spec, 0, 1).batch(0).image_ids != TrainLoader(dataset, other, 0, 1).batch(0).image_ids


def test_pictures_without_instances_are_not_trained_on(tmp_path: Path) -> None:
    content = coco_content()
    content["annotations"] = content["annotations"][:2]
    dataset = CocoDataset.load(tmp_path / "images", write_coco(tmp_path, content))
    spec = trial(shapes_spec())
    loader = TrainLoader(dataset, spec, 0, 1)
    assert loader.num_images == 1
    assert {image_id for batch in loader.batches(0, 4) for image_id in batch.image_ids} == {7}
    content["annotations"] = []
    with pytest.raises(DataError, match="none of the 2 training images"):
        TrainLoader(CocoDataset.load(tmp_path / "images", write_coco(tmp_path, content)), spec, 0, 1)


def test_the_subset_is_of_training_only() -> None:
    data = dataclasses.replace(shapes_spec(), fraction=0.25)
    assert len(open_split(data, "train")) == 6
    assert len(open_split(data, "val")) == 7
    changed = dataclasses.replace(data, num_categories=7)
    with pytest.raises(DataError, match="has 6 categories, but the spec says 7"):
        open_split(changed, "train")


@pytest.mark.parametrize("world", [1, 2, 5])
def test_validation_deals_the_same_batches_to_any_number_of_ranks(world: int) -> None:
    spec = trial(shapes_spec())
    spec = dataclasses.replace(spec, evaluation=dataclasses.replace(spec.evaluation, batch_size=2))
    dataset = open_split(spec.data, "val")
    alone = {tuple(batch.image_ids): batch for batch in EvalLoader(dataset, spec, 0, 1)}
    loaders = [EvalLoader(dataset, spec, rank, world) for rank in range(world)]
    assert sum(loader.num_images for loader in loaders) == 7
    dealt = [batch for loader in loaders for batch in loader]
    assert sorted(tuple(batch.image_ids) for batch in dealt) == sorted(alone)
    for batch in dealt:
        assert_same(batch, alone[tuple(batch.image_ids)])
    # A second pass gives the same batches, and the batches of a pass are not made anew.
    assert all(a is b for a, b in zip(loaders[0], loaders[0], strict=True))


def test_real_pictures_are_padded_and_sizes_kept() -> None:
    root = shared("coco_permissive")
    dataset = CocoDataset.load(root / "images", root / "instances_train.json")
    spec = trial(shapes_spec(), input=InputSpec(train_short_sides=(96, 128), test_short_side=128, max_side=213))
    loader = TrainLoader(dataset, spec, 0, 2)
    for batch in loader.batches(0, 6):
        orientations = {width >= height for height, width in batch.sizes}
        assert len(orientations) == 1
        assert batch.images.shape[2] % 32 == batch.images.shape[3] % 32 == 0
        assert all(max(size) <= 213 and min(size) <= 128 for size in batch.sizes)
        for target, (height, width) in zip(batch.targets, batch.sizes, strict=True):
            assert (target.boxes[:, 2] <= width + 1e-3).all()
            assert (target.boxes[:, 3] <= height + 1e-3).all()


@pytest.mark.parametrize(("sides", "crop"), [((96, 128), 0), ((128,), 100)])
def test_the_machines_store_changes_no_bit_of_any_batch(tmp_path: Path, sides: tuple[int, ...], crop: int) -> None:
    root = shared("coco_permissive")
    dataset = CocoDataset.load(root / "images", root / "instances_train.json").subset(np.arange(12))
    taken = InputSpec(train_short_sides=sides, test_short_side=112, max_side=213, crop=crop)
    spec = trial(shapes_spec(), input=taken)
    plain = list(TrainLoader(dataset, spec, 0, 1).batches(0, 6))
    for loader_processes in (0, 1, 0):
        store = PictureStore(1 << 30, tmp_path)
        kept = TrainLoader(dataset, spec, 0, 1, loader_processes, store).batches(0, 6)
        for first, second in zip(plain, kept, strict=True):
            assert_same(first, second)
            assert second.images.is_contiguous(memory_format=torch.channels_last)
    for whole, loader_processes in ((False, 0), (False, 1), (True, 1)):
        alone = list(EvalLoader(dataset, spec, 0, 1, whole=whole))
        loader = EvalLoader(dataset, spec, 0, 1, whole=whole, loader_processes=loader_processes, store=store)
        loader._room = 2 * alone[0].images.nbytes  # so that a second pass takes some batches of the first
        for _ in range(2):
            for first, second in zip(alone, loader, strict=True):
                assert_same(first, second)
        assert 0 < len(loader._kept) < len(alone)
    # Each picture is there at each size it was asked for, however often it was.
    names = [path.name for path in tmp_path.glob("*/*/*")]
    assert len({name.split("-")[0] for name in names}) == 12
    assert 36 <= len(names) <= 12 * (len(sides) + 2)
