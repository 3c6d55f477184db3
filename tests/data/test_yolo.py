from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from raystudy.data.preflight import preflight
from raystudy.data.resolve import resolve_data
from raystudy.data.splits import open_split
from raystudy.data.yolo import label_file
from raystudy.errors import DataError
from tests.data.synthetic import coco_content, write_coco

BOX = "0 0.5 0.5 0.5 0.2"
OUTLINE = "1 0.1 0.1 0.5 0.1 0.5 0.9"


def write_split(root: Path, split: str, labels: dict[str, str | None]) -> None:
    for name, text in labels.items():
        picture = root / "images" / split / name
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20)).save(picture)
        if text is not None:
            file = label_file(picture)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)


def write_folder(root: Path, labels: dict[str, str | None], **changes: object) -> Path:
    write_split(root, "train", labels)
    write_split(root, "val", {"v.png": BOX})
    said = {"path": ".", "train": "images/train", "val": "images/val", "names": {0: "nut", 1: "bolt"}} | changes
    (root / "data.yaml").write_text(yaml.safe_dump({key: value for key, value in said.items() if value is not None}))
    return root


def test_boxes_and_outlines_are_read_in_pixels(tmp_path: Path) -> None:
    write_folder(tmp_path, {"b.jpg": f"{BOX}\n{OUTLINE}\n", "a.png": None, "deep/c.PNG": ""})
    data = resolve_data(str(tmp_path))
    assert (data.format, data.num_categories, data.name) == ("yolo", 2, tmp_path.name)
    train = open_split(data, "train")
    assert [train.file_name(n) for n in range(3)] == [
        f"images/train/{name}" for name in ("a.png", "b.jpg", "deep/c.PNG")
    ]
    assert train.instance_counts.tolist() == [0, 2, 0]
    found = train.instances(1)
    assert np.allclose(found.boxes, [[10, 8, 30, 12], [4, 2, 20, 18]])
    assert found.labels.tolist() == [1, 2]
    assert train.categories == ["nut", "bolt"]
    assert train.label_to_category_id == {1: 0, 2: 1}
    assert found.masks is not None
    # Half of its box: the outline is a triangle.
    assert found.masks.window(40, 20)[1].sum() == pytest.approx(128, abs=16)
    assert train.repairs == {"instances without mask given their box as mask": 1}
    assert preflight(data) == []
    assert len(train.ground_truth()["annotations"]) == 2


def test_boxes_alone_have_no_masks_and_repeated_lines_are_dropped(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a.jpg": f"{BOX}\n{BOX} \n"})
    train = open_split(resolve_data(str(tmp_path / "data.yaml")), "train")
    assert not train.has_masks
    assert train.repairs == {"repeated labels dropped": 1}
    assert train.instance_counts.tolist() == [1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.5", "too few or too many numbers: labels/train/a.txt line 2 (4 numbers)"),
        ("0 0.5 0.5 0.5 0.5 0.9", "too few or too many numbers"),
        ("0 0.5 0.5 0.5 0.5 0.9 0.9 0.9", "too few or too many numbers"),
        ("2 0.5 0.5 0.5 0.5", "unknown class: labels/train/a.txt line 2 (class 2); the classes are 0 to 1"),
        ("0.5 0.5 0.5 0.5 0.5", "unknown class"),
        ("0 0.5 nan 0.5 0.5", "not finite"),
        ("0 20 10 30 5", "no shares of width and height"),
        ("nut 0.5 0.5 0.5 0.5", "not numbers"),
    ],
)
def test_bad_labels_are_told_with_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    write_folder(tmp_path, {"a.jpg": f"{BOX}\n{line}\n"})
    with pytest.raises(DataError) as caught:
        resolve_data(str(tmp_path))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": None}, "lacks names"),
        ({"val": None}, "lacks val"),
        ({"train": "nowhere"}, "train is nowhere, but"),
        ({"nc": 3}, "says nc: 3, but has 2 names"),
        ({"names": {"nut": 0}}, "names must be a list, or map"),
        ({"kpt_shape": [17, 3]}, "has keypoints"),
    ],
)
def test_a_bad_yaml_is_told(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    write_folder(tmp_path, {"a.jpg": BOX}, **changes)
    with pytest.raises(DataError, match=message):
        resolve_data(str(tmp_path))


def test_a_folder_of_pictures_that_are_none_is_told(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a.jpg": BOX})
    (tmp_path / "images" / "train" / "a.jpg").write_bytes(b"rubbish")
    with pytest.raises(DataError, match=r"pictures cannot be read: images/train/a\.jpg"):
        resolve_data(str(tmp_path))
    (tmp_path / "images" / "train" / "a.jpg").unlink()
    with pytest.raises(DataError, match="train has no pictures"):
        resolve_data(str(tmp_path))
    (tmp_path / "data.yaml").write_text("names: [")
    with pytest.raises(DataError, match="no readable yaml"):
        resolve_data(str(tmp_path))


def test_lists_of_pictures_lists_of_names_and_exports_paths_work(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a.jpg": BOX, "b.jpg": BOX}, names=["nut"], path="/nowhere/else", val=["../images/val"])
    (tmp_path / "train.txt").write_text("./images/train/b.jpg\n")
    said = yaml.safe_load((tmp_path / "data.yaml").read_text())
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(said | {"train": "train.txt"}))
    data = resolve_data(str(tmp_path))
    train = open_split(data, "train")
    assert [train.file_name(n) for n in range(len(train))] == ["images/train/b.jpg"]
    assert train.categories == ["nut"]
    assert len(open_split(data, "val")) == 1


def test_labels_decide_the_checksum_and_a_change_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "one", {"a.jpg": BOX})
    write_folder(tmp_path / "two", {"a.jpg": BOX})
    first, second = (resolve_data(str(tmp_path / name)) for name in ("one", "two"))
    assert first.train_checksum == second.train_checksum
    truth = open_split(second, "train")
    (tmp_path / "two" / "labels" / "train" / "a.txt").write_text(OUTLINE)
    assert resolve_data(str(tmp_path / "two")).train_checksum != first.train_checksum
    with pytest.raises(DataError, match="annotations were changed"):
        truth.ground_truth()


def test_coco_jsons_go_before_a_yaml_unless_it_is_asked_for(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a.jpg": BOX})
    for split in ("train", "val"):
        write_coco(tmp_path, coco_content(), f"instances_{split}.json")
    assert resolve_data(str(tmp_path)).format == "coco"
    assert resolve_data(f"yolo:{tmp_path}").format == "yolo"
    (tmp_path / "data.yaml").unlink()
    with pytest.raises(DataError, match=r"has no data\.yaml"):
        resolve_data(f"yolo:{tmp_path}")
