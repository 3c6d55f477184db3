import numpy as np
import pytest
import torch
from PIL import Image

from raystudy.data.coco import CocoDataset
from raystudy.data.instances import Instances
from raystudy.data.loader import open_split
from raystudy.data.masks import CompactMasks
from raystudy.data.shapes import draw_scene
from raystudy.data.transforms import (
    augmentation_rng,
    fitted_size,
    resizable,
    resize,
    resized_picture,
    resized_size,
    test_sample,
    train_sample,
)
from raystudy.spec.data import InputSpec
from tests.data.synthetic import TINY, shapes_spec, shared

test_sample.__test__ = False  # type: ignore[attr-defined]  # It is no test.
NATIVE = InputSpec(train_short_sides=(128,), test_short_side=128, max_side=128)


def mask_boxes(instances_masks: object, width: int, height: int) -> np.ndarray:
    assert isinstance(instances_masks, CompactMasks)
    boxes = []
    for mask in instances_masks.window(width, height):
        rows, columns = np.nonzero(mask)
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    return np.array(boxes, dtype=np.float32).reshape(-1, 4)


def test_flips_keep_boxes_on_their_masks_and_pixels_under_them() -> None:
    dataset = open_split(shapes_spec(), "train")
    flipped = 0
    for index in range(12):
        sample = train_sample(
            resizable(dataset.image(index)), dataset.instances(index), NATIVE, 1, augmentation_rng(0, 0, index)
        )
        pixels = sample.image.numpy().transpose(1, 2, 0)
        is_flipped = not np.array_equal(pixels, dataset.image(index))
        flipped += is_flipped
        assert np.array_equal(pixels[:, ::-1] if is_flipped else pixels, dataset.image(index))
        assert np.array_equal(mask_boxes(sample.target.masks, 128, 128), sample.target.boxes.numpy())
        _, objects = draw_scene(TINY, "train", index)
        assert isinstance(sample.target.masks, CompactMasks)
        seen = sample.target.masks.window(128, 128)[:, :, :: -1 if is_flipped else 1]
        assert np.array_equal(seen.astype(bool), np.stack([drawn.mask for drawn in objects]))
    assert 0 < flipped < 12


@pytest.mark.parametrize("folder", ["shapes", "dsb2018_small"])
def test_crops_keep_boxes_on_their_masks_and_at_least_one_instance(folder: str) -> None:
    if folder == "shapes":
        dataset = open_split(shapes_spec(), "train")
    else:
        root = shared(folder)
        dataset = CocoDataset.load(root / "images", root / "instances_train.json")
    side = 64 if folder == "shapes" else 128
    spec = InputSpec(resize=False, max_side=1000, crop=side)
    for index in range(24):
        rng = augmentation_rng(1, 2, index)
        sample = train_sample(resizable(dataset.image(index)), dataset.instances(index), spec, 1, rng)
        height, width = sample.image.shape[1:]
        assert max(height, width) <= side
        assert len(sample.target.boxes) >= 1
        assert len(sample.target.boxes) == len(sample.target.labels)
        found = mask_boxes(sample.target.masks, width, height)
        assert np.abs(found - sample.target.boxes.numpy()).max() <= 1e-3


def test_resizing_scales_boxes_with_their_masks() -> None:
    dataset = open_split(shapes_spec(), "train")
    spec = InputSpec(train_short_sides=(128,), test_short_side=192, max_side=300)
    for index in range(6):
        sample = test_sample(resizable(dataset.image(index)), dataset.instances(index), spec, 1)
        assert sample.image.shape == (3, 192, 192)
        assert sample.original_size == (128, 128)
        assert torch.equal(sample.target.boxes, torch.from_numpy(dataset.instances(index).boxes) * 1.5)
        assert np.abs(mask_boxes(sample.target.masks, 192, 192) - sample.target.boxes.numpy()).max() <= 0.5


def test_pictures_that_fit_are_not_touched() -> None:
    dataset = open_split(shapes_spec(), "val")
    sample = test_sample(resizable(dataset.image(0)), dataset.instances(0), NATIVE, 5)
    assert np.array_equal(sample.image.numpy(), dataset.image(0).transpose(2, 0, 1))
    assert sample.image_id == 5


def test_sizes_follow_the_shorter_side_up_to_the_longest() -> None:
    paper = InputSpec()
    assert resized_size(480, 640, 800, paper) == (800, 1067)
    assert resized_size(640, 480, 800, paper) == (1067, 800)
    assert resized_size(300, 900, 800, paper) == (444, 1333)
    native = InputSpec(resize=False, max_side=512)
    assert resized_size(360, 300, 800, native) == (360, 300)
    assert resized_size(1024, 256, 800, native) == (512, 128)


def test_the_resize_agrees_with_pillow() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (97, 131, 3), dtype=np.uint8)
    nothing = Instances(np.zeros((0, 4), dtype=np.float32), np.zeros(0, dtype=np.int64))
    for short in (40, 97, 150):
        sample = test_sample(resizable(picture), nothing, InputSpec(test_short_side=short), 1)
        height, width = sample.image.shape[1:]
        expected = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))
        assert np.abs(sample.image.numpy().transpose(1, 2, 0).astype(int) - expected).max() <= 1


def test_a_cut_instance_gets_the_box_of_what_is_visible() -> None:
    # An L: its upright is 10 wide and 60 high, its foot 60 wide and 10 high.
    outline = np.array([[0, 0], [10, 0], [10, 50], [60, 50], [60, 60], [0, 60]], dtype=np.float32)
    box = np.array([[0, 0, 60, 60]], dtype=np.float32)
    whole = Instances(box, np.ones(1, dtype=np.int64), CompactMasks([(outline,)]))
    # The window holds the upper part of the upright only: the clipped box would be 40 wide.
    assert whole.cropped(0, 0, 40, 40).boxes.tolist() == [[0, 0, 10, 40]]
    # This one lies inside the box, but beside the mask.
    assert len(whole.cropped(20, 5, 30, 30)) == 0
    # Without masks the clipped box is all that is known.
    assert Instances(box, np.ones(1, dtype=np.int64)).cropped(20, 5, 30, 30).boxes.tolist() == [[0, 0, 30, 30]]


def test_keypoints_move_with_the_picture_and_vanish_outside_the_window() -> None:
    points = np.array([[[10, 20, 2], [50, 20, 1], [0, 0, 0]]], dtype=np.float32)
    box = np.array([[5, 5, 60, 30]], dtype=np.float32)
    found = Instances(box, np.ones(1, dtype=np.int64), None, points, (1, 0, 2))
    flipped = found.flipped(64).keypoints
    assert flipped is not None
    assert flipped.tolist() == [[[14, 20, 1], [54, 20, 2], [0, 0, 0]]]
    cropped = found.cropped(4, 4, 30, 30).keypoints
    assert cropped is not None
    assert cropped.tolist() == [[[6, 16, 2], [0, 0, 0], [0, 0, 0]]]
    scaled = found.scaled(2, 3).keypoints
    assert scaled is not None
    assert scaled[0, 0].tolist() == [20, 60, 2]


def test_a_window_is_found_even_where_instances_are_rare() -> None:
    picture = np.zeros((2000, 2000, 3), dtype=np.uint8)
    box = np.array([[1990, 3, 1996, 9]], dtype=np.float32)
    spec = InputSpec(resize=False, max_side=4000, crop=64)
    found = Instances(box, np.ones(1, dtype=np.int64))
    counts = [
        len(train_sample(resizable(picture), found, spec, 1, augmentation_rng(0, 0, n)).target.boxes) for n in range(20)
    ]
    assert counts == [1] * 20


@pytest.mark.parametrize("target", [(800, 1333), (320, 533), (128, 213)])
def test_resizing_and_mirroring_give_the_same_bits_in_either_order(target: tuple[int, int]) -> None:
    # What is kept at a size is mirrored when it is read.
    rng = np.random.default_rng(0)
    for width in (90, 333, 375, 426, 427, 480, 500, 573, 612, 640, 1024, 2047):
        picture = rng.integers(0, 256, (24, width, 3), dtype=np.uint8)
        for new_width in (fitted_size(480, width, *target)[1], fitted_size(width + 1, width, *target)[1]):
            mirrored = np.ascontiguousarray(picture[:, ::-1])
            assert np.array_equal(resize(mirrored, (31, new_width))[:, ::-1], resize(picture, (31, new_width)))


def test_a_resize_takes_any_layout_and_gives_the_same_bits() -> None:
    picture = torch.randint(0, 256, (3, 37, 53), dtype=torch.uint8)
    laid = picture[None].contiguous(memory_format=torch.channels_last)[0]
    plain = torch.nn.functional.interpolate(
        picture[None].contiguous(), size=(50, 71), mode="bilinear", antialias=True, align_corners=False
    )
    assert torch.equal(resized_picture(picture, (50, 71)), plain[0])
    assert torch.equal(resized_picture(laid, (50, 71)), plain[0])
