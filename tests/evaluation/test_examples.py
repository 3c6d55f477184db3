"""The pictures that are shown: chosen alike, their instances in the right place, small."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from raystudy.data.coco import CocoDataset
from raystudy.evaluation.examples import LONG_SIDE, collect_examples, example_indices, outline
from tests.data.synthetic import coco_content, write_coco


def _painted(rings: list[list[int]], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The rings filled by the even-odd rule; corners lie between pixels, hence the finer grid."""
    filled = np.zeros((size[0] * 4, size[1] * 4), dtype=bool)
    for ring in rings:
        canvas = Image.new("1", (size[1] * 4, size[0] * 4))
        ImageDraw.Draw(canvas).polygon([value * 4 for value in ring], fill=1)
        filled ^= np.asarray(canvas)
    return filled[2::4, 2::4]


def _result(image_id: int, mask: NDArray[np.uint8], scores: tuple[float, ...] = (0.9,)) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {
        "image_id": image_id,
        "boxes": np.tile(np.array([4.0, 6.0, 10.0, 8.0]), (len(scores), 1)),
        "scores": np.array(scores),
        "labels": np.ones(len(scores), dtype=np.int64),
        "rles": [rle] * len(scores),
    }


def _dataset(folder: Path, factor: int = 1) -> CocoDataset:
    """Two pictures, one of 40 x 30 pixels times ``factor`` with two rectangles."""
    content = coco_content()
    content["annotations"].pop()
    for image in content["images"]:
        image |= {"width": image["width"] * factor, "height": image["height"] * factor}
    for one in content["annotations"]:
        one["bbox"] = [value * factor for value in one["bbox"]]
        one["segmentation"] = [[value * factor for value in ring] for ring in one["segmentation"]]
    annotations = write_coco(folder, content)
    return CocoDataset.load(folder / "images", annotations)


def test_the_same_pictures_of_a_data_set_are_spread_over_it_and_show_something() -> None:
    counts = np.array([0, 1, 0, 2, 3, 0, 1, 1, 5, 0])
    chosen = example_indices(counts, 3)
    assert chosen == [3, 6, 8]  # the middles of three thirds of 1, 3, 4, 6, 7, 8
    assert example_indices(counts, 8) == [1, 2, 3, 4, 6, 7, 8, 9]  # all that show something, then others
    assert example_indices(np.zeros(2, dtype=np.int64), 8) == [0, 1]


def test_an_outline_covers_the_mask_with_few_corners() -> None:
    y, x = np.mgrid[:480, :640]
    distance = np.hypot(x - 280, y - 240)
    ring = ((distance < 200) & (distance > 80)).astype(np.uint8)  # with a hole
    rings = outline(ring, (480, 640))
    painted = _painted(rings, (480, 640))
    assert len(rings) == 2
    assert (painted != ring.astype(bool)).sum() < 0.02 * ring.sum()
    assert sum(len(part) for part in rings) < 330  # of 2,624 along the pixels


def test_a_straight_edge_needs_its_ends_only() -> None:
    mask = np.zeros((30, 40), dtype=np.uint8)
    mask[5:20, 10:30] = 1
    assert sorted(outline(mask, (30, 40))[0]) == sorted([10, 5, 30, 5, 30, 20, 10, 20])


def test_objects_and_detections_lie_on_the_picture_that_is_kept(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path, factor=32)  # 1280 x 960, kept at 640 x 480
    mask = np.zeros((960, 1280), dtype=np.uint8)
    mask[192:448, 128:448] = 1
    result = _result(7, mask)
    result["boxes"] *= 32
    examples = collect_examples(dataset, [0], [result])
    (record,) = examples.content["pictures"]
    assert (record["width"], record["height"], record["original_width"]) == (LONG_SIDE, 480, 1280)
    assert examples.pictures[0].shape == (480, 640, 3)
    assert record["objects"][0]["box"] == record["detections"][0]["box"] == [64.0, 96.0, 224.0, 224.0]
    assert [record[of][0]["category"] for of in ("objects", "detections")] == ["nut", "bolt"]
    for instance in (record["objects"][0], record["detections"][0]):
        painted = _painted(instance["outline"], (480, 640))
        assert painted[100:220, 70:220].all()
        assert not painted[230:].any()


def test_weak_detections_are_left_out_and_the_rest_comes_best_first(tmp_path: Path) -> None:
    mask = np.ones((30, 40), dtype=np.uint8)
    examples = collect_examples(_dataset(tmp_path), [0], [_result(7, mask, (0.2, 0.7, 0.01))])
    assert [found["score"] for found in examples.content["pictures"][0]["detections"]] == [0.7, 0.2]


def test_they_are_kept_as_json_and_small_pictures(tmp_path: Path) -> None:
    results = [_result(7, np.ones((30, 40), np.uint8)), _result(9, np.ones((40, 30), np.uint8))]
    examples = collect_examples(_dataset(tmp_path), [0, 1], results)
    examples.save(tmp_path)
    assert json.loads((tmp_path / "examples.json").read_text()) == examples.content
    with Image.open(tmp_path / "1.jpg") as kept:
        assert (kept.width, kept.height) == (30, 40)


@pytest.mark.parametrize("rings", [0, 1])
def test_an_empty_mask_has_no_ring(rings: int) -> None:
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[2:4, 2:4] = rings
    assert len(outline(mask, (8, 8))) == rings
