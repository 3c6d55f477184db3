import json
from pathlib import Path
from typing import Any

import pytest

from raystudy.data.coco import CocoDataset
from raystudy.data.preflight import check_annotations, preflight
from raystudy.data.resolve import resolve_data
from raystudy.errors import DataError
from raystudy.spec.data import DataSpec
from tests.data.synthetic import annotation, coco_content, shapes_spec, shared, write_coco


def test_everything_is_told_at_once_each_kind_on_one_line(tmp_path: Path) -> None:
    content = coco_content()
    content["annotations"] += [annotation(10 + n, category_id=77) for n in range(5)]
    content["annotations"] += [annotation(20, image_id=1), annotation(20)]
    path = write_coco(tmp_path, content)
    with pytest.raises(DataError) as caught:
        CocoDataset.load(tmp_path / "images", path)
    assert len(caught.value.problems) == 3
    assert "5 x annotations have an unknown category: annotation 10" in caught.value.problems[0]
    assert "annotation 12 (category 77), …" in caught.value.problems[0]


def test_bad_files_are_told(tmp_path: Path) -> None:
    path = write_coco(tmp_path, coco_content())
    images = tmp_path / "images"
    assert check_annotations(images, path) == []
    empty, cut = tmp_path / "empty.json", tmp_path / "cut.json"
    empty.touch()
    cut.write_text(path.read_text()[:-5])
    gone = check_annotations(tmp_path / "nowhere", tmp_path / "gone.json")
    assert "nowhere is not there" in gone[0]
    assert "gone.json cannot be read" in gone[1]
    assert "are empty" in check_annotations(images, empty)[0]
    assert "are no json" in check_annotations(images, cut)[0]
    (images / "a.png").write_bytes(b"\x89PNG rubbish")
    assert "a.png cannot be read" in check_annotations(images, path)[0]
    (images / "b.png").unlink()
    assert "1 of 2 pictures are not in" in check_annotations(images, path)[0]


def test_pictures_in_folders_below_are_found_and_all_are_decoded_on_request(tmp_path: Path) -> None:
    content = coco_content()
    content["images"] = [{"id": n, "file_name": f"{n}.png", "width": 8, "height": 8} for n in range(60)]
    content["annotations"] = [annotation(n + 1, n) for n in range(60)]
    path = write_coco(tmp_path, content)
    (tmp_path / "images" / "deep").mkdir()
    (tmp_path / "images" / "3.png").rename(tmp_path / "images" / "deep" / "3.png")
    content["images"][3]["file_name"] = "deep/3.png"
    path.write_text(json.dumps(content))
    for n in range(40):
        if n != 3:
            (tmp_path / "images" / f"{n}.png").write_bytes(b"rubbish")
    assert len(check_annotations(tmp_path / "images", path, thorough=True)) == 39
    assert 0 < len(check_annotations(tmp_path / "images", path)) < 33


def split_folder(root: Path, val: dict[str, Any]) -> DataSpec:
    write_coco(root, coco_content())
    write_coco(root, val, "instances_val.json")
    return resolve_data(str(root))


def test_both_splits_are_checked_against_the_model_and_each_other(tmp_path: Path) -> None:
    assert preflight(split_folder(tmp_path / "good", coco_content()), needs_masks=True) == []
    without_masks = coco_content(annotations=[annotation(1) | {"segmentation": []}])
    assert "no segmentations" in preflight(split_folder(tmp_path / "boxes", without_masks), needs_masks=True)[0]
    assert preflight(split_folder(tmp_path / "boxes", without_masks)) == []
    others = coco_content(categories=[{"id": 5, "name": "nut"}, {"id": 2, "name": "screw"}])
    assert "different categories" in preflight(split_folder(tmp_path / "other", others))[0]
    nothing = coco_content(annotations=[])
    assert "has no instances" in preflight(split_folder(tmp_path / "empty", nothing))[0]


def test_subsets_without_pictures_are_told() -> None:
    data = shapes_spec()
    assert preflight(data) == []
    few = DataSpec(format="shapes", shapes=data.shapes, num_categories=6, fraction=0.001)
    many = DataSpec(format="shapes", shapes=data.shapes, num_categories=6, num_images=100)
    assert "must have 1 to 24" in preflight(few)[0]
    assert "must have 1 to 24" in preflight(many)[0]


@pytest.mark.parametrize("folder", ["coco_permissive", "coco_person1", "dsb2018_small", "bccd_voc"])
def test_real_data_have_no_problems(folder: str) -> None:
    assert preflight(resolve_data(str(shared(folder)))) == []
