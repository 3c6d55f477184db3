import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from raystudy.data.coco import CocoDataset
from raystudy.data.masks import CompactMasks, Rle
from tests.data.synthetic import shared


def blob_rle(seed: int, height: int = 60, width: int = 80) -> tuple[np.ndarray, Rle]:
    """A disc with a hole at a random place."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - rng.uniform(20, 40), x - rng.uniform(20, 60))
    mask = ((distance < 17) & (distance > 5)).astype(np.uint8)
    return mask, Rle(height, width, coco_mask.encode(np.asfortranarray(mask))["counts"])


SQUARE = (np.array([[10, 20], [30, 20], [30, 50], [10, 50]], dtype=np.float32),)


def test_a_rectangle_fills_its_box_and_the_half_box_half() -> None:
    masks = CompactMasks([SQUARE])
    boxes = torch.tensor([[10.0, 20, 30, 50], [10, 20, 50, 50], [0, 0, 10, 20]])
    seen = masks.crop(boxes, torch.zeros(3, dtype=torch.int64), 28)
    assert seen.shape == (3, 28, 28)
    assert seen.dtype == torch.float32
    assert seen.mean((1, 2)).tolist() == [1.0, 0.5, 0.0]


def test_masks_of_either_kind_follow_scale_flip_and_shift() -> None:
    mask, runs = blob_rle(0)
    masks = CompactMasks([runs, SQUARE])
    pixels = masks.window(80, 60)
    assert np.array_equal(pixels[0], mask)
    assert np.array_equal(masks.flipped(80).window(80, 60), pixels[:, :, ::-1])
    assert np.array_equal(masks.shifted(-7, -4).window(73, 56), pixels[:, 4:, 7:])
    doubled = masks.scaled(2, 2).window(160, 120)
    assert np.array_equal(doubled[:, ::2, ::2], pixels)
    moved = masks.flipped(80).scaled(2, 2).shifted(-10, -6).window(150, 114)
    assert np.array_equal(moved, doubled[:, :, ::-1][:, 6:, 10:])


def test_rings_of_one_instance_are_united_and_selected_with_it() -> None:
    second = np.array([[60, 10], [70, 10], [70, 20], [60, 20]], dtype=np.float32)
    masks = CompactMasks([SQUARE, (*SQUARE, second), (second,)])
    areas = masks.window(80, 60).sum((1, 2))
    assert areas.tolist() == [600, 700, 100]
    assert masks.selected(np.array([2, 1])).window(80, 60).sum((1, 2)).tolist() == [100, 700]


def test_no_boxes_and_no_instances_give_empty_targets() -> None:
    empty = torch.zeros((0, 4)), torch.zeros(0, dtype=torch.int64)
    assert CompactMasks([SQUARE]).crop(*empty, 14).shape == (0, 14, 14)
    assert CompactMasks([]).crop(*empty, 14).shape == (0, 14, 14)
    assert CompactMasks([()]).crop(torch.tensor([[0.0, 0, 4, 4]]), torch.zeros(1, dtype=torch.int64), 4).sum() == 0


def one_by_one(rings: list[np.ndarray], box: np.ndarray, size: int) -> np.ndarray:
    """The straightforward way: move and scale the rings of one RoI, let COCO's own functions do the rest."""
    side = np.maximum(box[2:] - box[:2], 0.1)
    moved = [((ring.astype(np.float64) - box[:2]) * size / side).ravel().tolist() for ring in rings]
    return np.asarray(coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(moved, size, size))))


@pytest.mark.parametrize("folder", ["coco_permissive", "dsb2018_small"])
def test_targets_of_real_polygons_agree_with_rasterising_one_by_one(folder: str) -> None:
    root = shared(folder)
    dataset = CocoDataset.load(root / "images", root / "instances_val.json")
    rng = np.random.default_rng(0)
    ious = []
    for index in range(20):
        found = dataset.instances(index)
        assert found.masks is not None
        jitter = rng.normal(0, 0.08, found.boxes.shape) * np.tile(found.boxes[:, 2:] - found.boxes[:, :2], 2)
        boxes = (found.boxes + jitter).astype(np.float32)
        seen = found.masks.crop(torch.from_numpy(boxes), torch.arange(len(boxes)), 28).numpy()
        for instance, (target, outline) in enumerate(zip(seen, found.masks.outlines, strict=True)):
            assert isinstance(outline, tuple)
            expected = one_by_one(list(outline), boxes[instance].astype(np.float64), 28)
            ious.append((target * expected).sum() / max(1, np.maximum(target, expected).sum()))
    assert np.mean(ious) >= 0.98


def test_run_lengths_and_polygons_of_the_same_nuclei_give_the_same_targets() -> None:
    root = shared("dsb2018_small")
    of_polygons = CocoDataset.load(root / "images", root / "instances_val.json")
    of_runs = CocoDataset.load(root / "images", root / "instances_val_rle.json")
    agreement = []
    for index in range(8):
        first, second = of_polygons.instances(index), of_runs.instances(index)
        assert first.masks is not None
        assert second.masks is not None
        boxes, instances = torch.from_numpy(first.boxes), torch.arange(len(first))
        a, b = first.masks.crop(boxes, instances, 28), second.masks.crop(boxes, instances, 28)
        agreement.append((a * b).sum() / torch.maximum(a, b).sum())
    assert min(agreement) >= 0.95
