from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raystudy.data.defaults import demo_unit, suggested_unit
from raystudy.data.inspection import inspect, inspect_data
from raystudy.data.sheet import TILE, draw_sheet, sample_of
from raystudy.data.splits import open_split
from raystudy.errors import DataError
from raystudy.spec.schedule import PAPER_UNIT
from tests.data.synthetic import annotation, coco_content, shapes_spec, shared, write_coco


def told(folder: str) -> str:
    return inspect(str(shared(folder)), thorough=True).text()


def test_true_coco_pictures_are_what_their_readme_says() -> None:
    text = told("coco_permissive")
    assert "80 categories, ids 1 to 90, with gaps" in text
    assert "train: 45 images, 492 instances and 6 crowd regions: 498 annotations" in text
    assert "val: 47 images, 462 instances and 7 crowd regions: 469 annotations" in text
    assert "Problems: none" in text
    assert "Worth knowing: 20 of 80 categories have no instance to train on" in text


def test_nuclei_are_what_their_readme_says() -> None:
    text = told("dsb2018_small")
    assert "1 category" in text
    assert "train: 160 images, 4951 instances\n" in text
    assert "most 151" in text
    assert "val: 60 images, 1779 instances\n" in text
    assert "anchor sizes: 8, 16, 32, 64 pixels" in text
    assert "Problems: none" in text


@pytest.mark.parametrize(
    ("folder", "lines"),
    [
        ("coco_person1", ("train: 197 images, 197 instances", "17 keypoints", "2 L, 195 RGB")),
        ("bccd_voc", ("voc format, boxes only", "train: 205 images, 2804 instances", "RBC 2381", "mask head: no")),
    ],
)
def test_other_formats_are_what_their_readme_says(folder: str, lines: tuple[str, ...]) -> None:
    text = told(folder)
    assert [line for line in lines if line not in text] == []


def test_what_is_wrong_is_told_and_not_raised(tmp_path: Path) -> None:
    found = inspect(str(tmp_path / "nowhere"))
    assert found.data is None
    assert "Problems: 1" in found.text()
    with pytest.raises(DataError):
        found.write_sheet(tmp_path / "sheet.png")
    for split in ("train", "val"):
        write_coco(tmp_path, coco_content(), f"instances_{split}.json")
    (tmp_path / "images" / "b.png").write_bytes(b"rubbish")
    found = inspect(str(tmp_path))
    assert len(found.problems) == 1
    assert "b.png cannot be read" in found.text()
    assert "1 L, 1 unreadable" in found.text()
    found.write_sheet(tmp_path / "sheets" / "sheet.png")
    assert Image.open(tmp_path / "sheets" / "sheet.png").size[0] > 4 * TILE


def test_repairs_are_told(tmp_path: Path) -> None:
    content = coco_content()
    content["annotations"].append(annotation(4, x=35, w=20))
    for split in ("train", "val"):
        write_coco(tmp_path, content, f"instances_{split}.json")
    text = inspect(str(tmp_path)).text()
    assert "repairs: 1 x boxes clipped to their picture" in text
    assert "Worth knowing: 2 of 2 validation pictures are trained on too" in text


def test_a_unit_shows_pictures_as_often_as_cocos() -> None:
    assert suggested_unit(118_287, 16) == PAPER_UNIT
    assert suggested_unit(11_829, 16) == pytest.approx(9_000, abs=9)
    assert suggested_unit(10, 16) == 405
    assert suggested_unit(1500, 4) % 9 == 0


def test_a_demo_follows_the_number_of_pictures_within_bounds() -> None:
    assert [demo_unit(images, 4, unit=405) for images in (20, 160, 5_000, 118_287)] == [405, 486, 1620, 1620]


def test_shapes_can_be_inspected() -> None:
    found = inspect_data(shapes_spec(), "shapes")
    assert found.problems == ()
    assert found.splits["train"].statistics["images"] == 24
    assert found.categories[0] == (1, "disc")
    assert "--unit" not in found.text()
    assert found.splits["val"].modes == {"RGB": 7}


def test_a_sheet_shows_each_category_early_and_draws_what_is_annotated(tmp_path: Path) -> None:
    content = coco_content()
    content["images"] += [{"id": n, "file_name": f"{n}.png", "width": 40, "height": 30} for n in range(100, 120)]
    content["annotations"] += [annotation(n, n) for n in range(101, 120)]
    path = write_coco(tmp_path, content)
    from raystudy.data.coco import CocoDataset

    dataset = CocoDataset.load(path.parent / "images", path)
    for seed in range(4):
        first = sample_of(dataset, 2, seed)
        assert {label for index in first for label in dataset.instances(index).labels.tolist()} == {1, 2}
        assert dataset.image_ids[sample_of(dataset, 22, seed)[-1]] == 100
    plain = open_split(shapes_spec(), "val")
    sheet = np.asarray(draw_sheet({"val": plain}, pictures_each=1))
    unmasked = np.asarray(draw_sheet({"val": plain.with_instances(np.zeros(len(plain.all_labels()), bool))}, 1))
    assert (sheet[24:] != unmasked[24:]).any(axis=2).mean() > 0.02
