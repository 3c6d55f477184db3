import hashlib
import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from raystudy.data.outlines import to_segmentation, trace_rings
from raystudy.data.shapes import MIN_VISIBLE, draw_scene, render_shapes
from raystudy.data.textures import SHAPES, TEXTURES, texture_crops
from raystudy.spec.data import ShapesSpec
from tests.data.synthetic import TINY

SPEC = ShapesSpec()


def decode(segmentation: object, size: int) -> np.ndarray:
    runs = segmentation
    if isinstance(segmentation, list):
        runs = coco_mask.merge(coco_mask.frPyObjects(segmentation, size, size))
    return np.asarray(coco_mask.decode(runs)).astype(bool)


def test_segmentations_of_visible_masks_decode_to_the_same_bits() -> None:
    masks = [drawn.mask for index in range(60) for drawn in draw_scene(SPEC, "train", index)[1]]
    segmentations = [to_segmentation(mask) for mask in masks]
    for mask, segmentation in zip(masks, segmentations, strict=True):
        assert np.array_equal(decode(segmentation, 128), mask)
    # Occlusion cuts some masks into parts.
    assert any(isinstance(s, list) and len(s) > 1 for s in segmentations)


@pytest.mark.parametrize("density", [0.1, 0.3, 0.5, 0.7, 0.95])
def test_segmentations_of_random_masks_decode_to_the_same_bits(density: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        mask = rng.random((17, 17)) < density
        if mask.any():
            assert np.array_equal(decode(to_segmentation(mask), 17), mask)


def test_pixels_that_touch_at_a_corner_are_rings_of_their_own() -> None:
    rings, has_hole = trace_rings(np.eye(3, dtype=bool))
    assert [len(ring) for ring in rings] == [4, 4, 4]
    assert not has_hole


def test_a_mask_with_a_hole_becomes_run_lengths() -> None:
    mask = np.ones((9, 9), dtype=bool)
    mask[4, 4] = False
    segmentation = to_segmentation(mask)
    assert isinstance(segmentation, dict)
    assert np.array_equal(decode(segmentation, 9), mask)


def test_scenes_are_the_same_bits_everywhere() -> None:
    # Known pictures: a change of the renderer needs another SHAPES_VERSION.
    digest = hashlib.sha256()
    for index in range(3):
        digest.update(draw_scene(SPEC, "val", index)[0].tobytes())
    digest.update(texture_crops(0, 3)[0].tobytes())
    assert digest.hexdigest()[:16] == "940563f5d207b8ff"


def test_a_scene_depends_on_seed_split_and_index_only() -> None:
    picture, objects = draw_scene(SPEC, "train", 5)
    again, _ = draw_scene(ShapesSpec(num_train=9, num_val=2), "train", 5)
    assert np.array_equal(picture, again)
    for other in (draw_scene(SPEC, "val", 5), draw_scene(SPEC, "train", 6), draw_scene(ShapesSpec(seed=1), "train", 5)):
        assert not np.array_equal(picture, other[0])
    assert all(drawn.mask.sum() >= MIN_VISIBLE * drawn.full_area for drawn in objects)


def test_visible_masks_never_overlap_and_all_shapes_and_textures_occur() -> None:
    categories, textures = set(), set()
    for index in range(40):
        _, objects = draw_scene(SPEC, "train", index)
        assert np.stack([drawn.mask for drawn in objects]).sum(axis=0).max() == 1
        assert 1 <= len(objects) <= 5
        categories |= {drawn.category for drawn in objects}
        textures |= {drawn.texture for drawn in objects}
    assert categories == set(range(len(SHAPES)))
    assert textures == set(range(len(TEXTURES)))


def test_the_folder_is_ordinary_coco_and_rendered_once() -> None:
    folder = render_shapes(TINY)
    written = (folder / "instances_train.json").stat().st_mtime_ns
    assert render_shapes(TINY) == folder
    assert (folder / "instances_train.json").stat().st_mtime_ns == written
    content = json.loads((folder / "instances_val.json").read_text())
    assert len(content["images"]) == TINY.num_val
    picture, objects = draw_scene(TINY, "val", 0)
    assert np.array_equal(np.asarray(Image.open(folder / "val" / content["images"][0]["file_name"])), picture)
    first = [a for a in content["annotations"] if a["image_id"] == content["images"][0]["id"]]
    for annotation, drawn in zip(first, objects, strict=True):
        assert annotation["category_id"] == drawn.category + 1
        assert annotation["area"] == drawn.mask.sum()
        x, y, w, h = annotation["bbox"]
        assert drawn.mask[y : y + h, x : x + w].sum() == drawn.mask.sum()


def _render(cache: Path) -> float:
    folder = render_shapes(ShapesSpec(num_train=6, num_val=2), cache)
    return (folder / "instances_train.json").stat().st_mtime


def test_processes_that_ask_at_once_share_one_rendering(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(3) as pool:
        times = pool.map(_render, [tmp_path] * 6)
    assert len(set(times)) == 1
    assert [path.name for path in (tmp_path / "shapes").iterdir() if "partial" in path.name] == []


def test_crops_are_a_function_of_seed_and_index() -> None:
    images, labels = texture_crops(3, 30)
    assert images.shape == (30, 3, 48, 48)
    assert images.dtype == np.uint8
    assert set(labels.tolist()) == set(range(len(TEXTURES)))
    assert np.array_equal(images[:10], texture_crops(3, 10)[0])
    assert not np.array_equal(images, texture_crops(4, 30)[0])
