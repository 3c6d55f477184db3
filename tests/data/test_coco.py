import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from raystudy.data.coco import CocoDataset
from raystudy.data.pictures import read_picture
from raystudy.errors import DataError
from tests.data.synthetic import annotation, coco_content, shared, write_coco


def load(folder: Path, content: dict[str, Any]) -> CocoDataset:
    return CocoDataset.load(folder / "images", write_coco(folder, content))


def test_sparse_categories_become_contiguous_labels_in_the_order_of_their_ids(tmp_path: Path) -> None:
    dataset = load(tmp_path, coco_content())
    assert dataset.categories == ["bolt", "nut"]
    assert dataset.label_to_category_id == {1: 2, 2: 5}
    assert dataset.instances(0).labels.tolist() == [2, 1]
    assert dataset.instances(0).boxes.tolist() == [[4, 6, 14, 14], [20, 10, 32, 19]]
    assert dataset.image_ids == [7, 9]
    assert dataset.heights.tolist() == [30, 40]
    assert dataset.image(1).shape == (40, 30, 3)


def test_crowds_are_no_training_instances_but_ground_truth(tmp_path: Path) -> None:
    crowd = annotation(4) | {"iscrowd": 1, "segmentation": {"size": [30, 40], "counts": [300, 60, 840]}}
    content = coco_content()
    content["annotations"].append(crowd)
    dataset = load(tmp_path, content)
    assert dataset.num_instances(0) == 2
    assert dataset.repairs == {"crowd regions kept out of training": 1}
    assert sum(a["iscrowd"] for a in dataset.ground_truth()["annotations"]) == 1


@pytest.mark.parametrize(
    ("change", "repair", "box"),
    [
        ({"bbox": [35, 5, 20, 10]}, "boxes clipped to their picture", [35, 5, 40, 15]),
        ({"bbox": [5, 5, 0, 0]}, "boxes without extent taken from their mask", [5, 5, 14, 12]),
        ({"bbox": [14, 12, -9, -7]}, "boxes without extent taken from their mask", [5, 5, 14, 12]),
        ({"bbox": [90, 90, 5, 5]}, "boxes without extent taken from their mask", [5, 5, 14, 12]),
        ({"bbox": None}, "boxes without extent taken from their mask", [5, 5, 14, 12]),
        ({"bbox": [5, 5, 0, 3], "segmentation": []}, "instances without extent inside their picture dropped", None),
        ({"bbox": [5, 5, 0, 3], "segmentation": [[1, 2, 3, 4]]}, "instances without extent", None),
        ({"segmentation": []}, "instances without mask given their box as mask", [5, 5, 14, 12]),
        ({"segmentation": [[5, 5, 9, 9]]}, "instances without mask given their box as mask", [5, 5, 14, 12]),
    ],
)
def test_degenerate_annotations_are_repaired_or_dropped_and_counted(
    tmp_path: Path, change: dict[str, Any], repair: str, box: list[float] | None
) -> None:
    content = coco_content()
    content["annotations"].append(annotation(4) | change)
    dataset = load(tmp_path, content)
    found = dataset.instances(0)
    assert [count for text, count in dataset.repairs.items() if text.startswith(repair)] == [1]
    if box is None:
        assert len(found) == 2
    else:
        assert found.boxes[2].tolist() == box
        assert found.masks is not None
        assert found.masks.window(40, 30)[2].sum() > 0
    # pycocotools takes the ground truth and can make every mask of it.
    truth = COCO()
    truth.dataset = dataset.ground_truth()
    truth.createIndex()
    assert all(truth.annToMask(a).shape == (30, 40) for a in truth.loadAnns(truth.getAnnIds(imgIds=[7])))


def test_ground_truth_gets_what_pycocotools_needs(tmp_path: Path) -> None:
    content = coco_content()
    for entry in content["annotations"]:
        del entry["id"], entry["area"], entry["iscrowd"], entry["bbox"]
    truth = load(tmp_path, content).ground_truth()["annotations"]
    assert [a["id"] for a in truth] == [1, 2, 3]
    assert truth[0]["bbox"] == [4, 6, 10, 8]
    assert truth[0]["area"] == 80
    # Annotation 0 would be taken for "no match".
    content = coco_content()
    content["annotations"][0]["id"] = 0
    assert 0 not in [a["id"] for a in load(tmp_path, content).ground_truth()["annotations"]]


def test_a_subset_shares_the_index_and_renumbers_the_pictures(tmp_path: Path) -> None:
    whole = load(tmp_path, coco_content())
    part = whole.subset(np.array([1]))
    assert part.image_ids == [9]
    assert whole.image_ids == [7, 9]
    assert part.num_instances(0) == len(part.all_boxes()) == 1
    assert [a["id"] for a in part.ground_truth()["annotations"]] == [3]


def test_data_without_segmentations_have_no_masks(tmp_path: Path) -> None:
    content = coco_content()
    for entry in content["annotations"]:
        entry["segmentation"] = []
    dataset = load(tmp_path, content)
    assert not dataset.has_masks
    assert dataset.instances(0).masks is None


GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


def as_picture(kind: str) -> Image.Image:
    grey = Image.fromarray(GREY)
    if kind == "palette":
        return grey.convert("RGB").quantize(256)
    if kind == "16 bit":
        return Image.fromarray(GREY.astype(np.uint16) * 257)
    if kind == "float":
        return Image.fromarray(GREY.astype(np.float32) / 255)
    return grey.convert({"grey": "L", "grey alpha": "LA", "colour alpha": "RGBA", "print": "CMYK", "bits": "1"}[kind])


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        ("grey", "png"),
        ("grey alpha", "png"),
        ("colour alpha", "png"),
        ("palette", "png"),
        ("16 bit", "png"),
        ("16 bit", "tif"),
        ("float", "tif"),
        ("print", "tif"),
        ("bits", "png"),
    ],
)
def test_pictures_of_any_kind_become_rgb(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"picture.{suffix}"
    as_picture(kind).save(path)
    pixels = read_picture(path, 3, 4)
    assert pixels.dtype == np.uint8
    expected = GREY if kind != "bits" else np.asarray(Image.fromarray(GREY).convert("1").convert("L"))
    assert np.abs(pixels - expected[:, :, None].astype(int)).max() <= 1


def test_pictures_that_exif_turns_are_turned_unless_annotated_unturned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(GREY).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_picture(tmp_path / "turned.png", 4, 3)[:, :, 0], np.rot90(GREY, -1))
    assert np.array_equal(read_picture(tmp_path / "turned.png", 3, 4)[:, :, 0], GREY)


def test_pictures_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:-30])
    (tmp_path / "text.png").write_text("no picture")
    for name, size, message in (
        ("gone.png", (3, 4), "gone.png is not there"),
        ("cut.png", (3, 4), "cut.png cannot be read"),
        ("text.png", (3, 4), "text.png cannot be read"),
        ("good.png", (9, 9), "good.png is 4 x 3, but the annotations say 9 x 9"),
    ):
        with pytest.raises(DataError, match=message):
            read_picture(tmp_path / name, *size)


@pytest.mark.parametrize(("split", "images", "annotations", "crowds"), [("train", 45, 498, 6), ("val", 47, 469, 7)])
def test_true_coco_pictures_load(split: str, images: int, annotations: int, crowds: int) -> None:
    root = shared("coco_permissive")
    dataset = CocoDataset.load(root / "images", root / f"instances_{split}.json")
    assert len(dataset) == images
    assert dataset.instance_counts.sum() == annotations - crowds
    assert dataset.repairs == {"crowd regions kept out of training": crowds}
    assert len(dataset.categories) == 80
    assert dataset.label_to_category_id[80] == 90
    truth = dataset.ground_truth()
    assert truth == json.loads((root / f"instances_{split}.json").read_text())
    for index in range(len(dataset)):
        found = dataset.instances(index)
        assert dataset.image(index).shape == (dataset.heights[index], dataset.widths[index], 3)
        assert found.masks is not None
        assert len(found.masks) == dataset.num_instances(index)


def test_keypoints_load_and_know_their_mirror() -> None:
    root = shared("coco_person1")
    dataset = CocoDataset.load(root / "images", root / "person_keypoints_val.json")
    found = dataset.instances(0)
    assert dataset.num_keypoints == 17
    assert found.keypoints is not None
    assert found.keypoints.shape == (1, 17, 3)
    assert found.keypoint_mirror[:5] == (0, 2, 1, 4, 3)
    width = int(dataset.widths[0])
    back = found.flipped(width).flipped(width)
    assert back.keypoints is not None
    assert np.array_equal(back.keypoints, found.keypoints)


def test_nuclei_load() -> None:
    root = shared("dsb2018_small")
    dataset = CocoDataset.load(root / "images", root / "instances_train.json")
    assert (len(dataset), dataset.instance_counts.sum(), dataset.instance_counts.max()) == (160, 4951, 151)
    assert dataset.repairs == {}


@pytest.mark.parametrize(
    ("skeleton", "joined"),
    [([[1, 2], [2, 3]], [(0, 1), (1, 2)]), ([[1, 9]], []), ("1-2", []), ([[1], 2], []), ([[[1], 2]], [])],
)
def test_a_skeleton_joins_keypoints_that_are_there(
    tmp_path: Path, skeleton: Any, joined: list[tuple[int, int]]
) -> None:
    content = coco_content()
    for category in content["categories"]:
        category |= {"keypoints": ["head", "left_hand", "right_hand"], "skeleton": skeleton}
    for one in content["annotations"]:
        one |= {"keypoints": [1, 1, 2] * 3, "num_keypoints": 3}
    path = write_coco(tmp_path, content)
    assert CocoDataset.load(tmp_path / "images", path).skeleton == joined
