import shutil
from pathlib import Path

import pytest

from raystudy.data.resolve import data_defaults, resolve_data, resolve_pair
from raystudy.data.splits import open_split
from raystudy.errors import DataError
from raystudy.spec.data import DataSpec
from tests.data.synthetic import coco_content, shapes_spec, shared, trial, write_coco


def test_shapes_are_known_by_name() -> None:
    data = resolve_data("shapes")
    assert data.format == "shapes"
    assert data.train_checksum == DataSpec(format="shapes", shapes=data.shapes, num_categories=6).shapes.checksum(  # type: ignore[union-attr]
        "train"
    )
    assert data.problems() == []


def lay_out(root: Path, json_folder: str, json_name: str, pictures: str) -> None:
    for split, year in (("train", "2017"), ("val", "2017")):
        made = root / "made"
        path = write_coco(made, coco_content())
        target = root / json_folder.format(split=split, year=year) / json_name.format(split=split, year=year)
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = root / pictures.format(split=split, year=year)
        folder.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        shutil.copytree(made / "images", folder, dirs_exist_ok=True)
        shutil.rmtree(made)


@pytest.mark.parametrize(
    ("json_folder", "json_name", "pictures"),
    [
        (".", "instances_{split}.json", "images"),
        (".", "instances_{split}.json", "{split}"),
        ("annotations", "instances_{split}{year}.json", "{split}{year}"),
        ("annotations", "instances_{split}{year}.json", "images/{split}{year}"),
        ("{split}", "_annotations.coco.json", "{split}"),
    ],
)
def test_usual_layouts_are_found(tmp_path: Path, json_folder: str, json_name: str, pictures: str) -> None:
    lay_out(tmp_path, json_folder, json_name, pictures)
    data = resolve_data(str(tmp_path))
    assert Path(data.train_images) == (tmp_path / pictures.format(split="train", year="2017")).resolve()
    assert data.num_categories == 2
    assert data.train_checksum.startswith("sha256-")
    assert data.name == tmp_path.name


def test_content_not_place_decides_the_checksum(tmp_path: Path) -> None:
    for name in ("one", "two"):
        lay_out(tmp_path / name, ".", "instances_{split}.json", "images")
    first, second = (resolve_data(str(tmp_path / name)) for name in ("one", "two"))
    assert first.train_checksum == second.train_checksum
    (tmp_path / "two" / "instances_train.json").write_text(
        (tmp_path / "two" / "instances_train.json").read_text() + "\n"
    )
    assert resolve_data(str(tmp_path / "two")).train_checksum != first.train_checksum


def test_what_is_missing_is_told_of_both_splits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nor 'shapes', the embedded"):
        resolve_data(str(tmp_path / "nowhere"))
    with pytest.raises(DataError) as caught:
        resolve_data(str(tmp_path))
    assert ["no annotations for train" in caught.value.problems[0], "for val" in caught.value.problems[1]] == [True] * 2
    write_coco(tmp_path, coco_content(images=[]))
    write_coco(tmp_path, coco_content(), "instances_val.json")
    shutil.rmtree(tmp_path / "images")
    with pytest.raises(DataError) as caught:
        resolve_data(str(tmp_path))
    assert "has no images" in caught.value.problems[0]
    assert "looked for a.png in" in caught.value.problems[1]


def test_two_jsons_anywhere_make_a_data_set(tmp_path: Path) -> None:
    train, val = (write_coco(tmp_path / name, coco_content(), f"{name}.json") for name in ("one", "two"))
    data = resolve_pair(str(train.parent / "images"), str(train), str(val.parent / "images"), str(val))
    assert (data.format, data.num_categories, data.name) == ("coco", 2, "one")
    assert open_split(data, "val").image(0).shape == (30, 40, 3)
    with pytest.raises(DataError) as caught:
        resolve_pair(str(tmp_path / "no"), str(train), str(tmp_path), str(tmp_path / "gone.json"))
    assert "no is not there" in caught.value.problems[0]
    assert "gone.json cannot be read" in caught.value.problems[1]


def test_defaults_of_the_shapes_are_the_demo_models() -> None:
    found = data_defaults(shapes_spec())
    assert found.input.crop == 0
    assert found.input.test_short_side == 128
    assert found.anchor_sizes == (16, 32, 64, 128)
    assert found.detections_per_image == 100


def test_defaults_of_crowded_nuclei_have_windows_and_budgets() -> None:
    found = data_defaults(resolve_data(str(shared("dsb2018_small"))))
    assert found.input.crop == 128
    assert not found.input.resize
    assert found.anchor_sizes == (8, 16, 32, 64)
    assert found.detections_per_image >= 300
    fitted = found.applied_to(trial(shapes_spec()))
    assert fitted.evaluation.detections_per_image >= 300
    assert fitted.model.rpn.post_nms_test >= 300
    assert fitted.model.mask_head is not None
    assert fitted.problems() == []


def test_defaults_without_masks_train_no_mask_head() -> None:
    found = data_defaults(resolve_data(str(shared("bccd_voc"))))
    assert found.applied_to(trial(shapes_spec())).model.mask_head is None


def test_large_objects_are_shown_whole() -> None:
    found = data_defaults(resolve_data(str(shared("coco_person1"))))
    assert (found.input.crop, found.input.test_short_side) == (0, 128)
