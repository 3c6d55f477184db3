from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raystudy.data.coco import CocoDataset
from raystudy.data.preflight import preflight
from raystudy.data.resolve import data_defaults, resolve_data, resolve_voc
from raystudy.data.splits import open_split
from raystudy.errors import DataError
from raystudy.spec.data import DataSpec
from tests.data.synthetic import shapes_spec, shared, trial

Object = tuple[str, tuple[float, float, float, float], bool]

DOG: Object = ("dog", (1, 1, 10, 5), False)
CAT: Object = ("cat", (11, 6, 40, 30), False)
HARD_CAT: Object = ("cat", (3, 3, 8, 8), True)


def write_picture(year: Path, name: str, objects: list[Object], size: tuple[int, int] = (40, 30)) -> None:
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (year / folder).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), (90, 60, 30)).save(year / "JPEGImages" / f"{name}.jpg")
    found = "".join(
        f"<object><name>{label}</name><difficult>{int(hard)}</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox><part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>"
        for label, (x1, y1, x2, y2), hard in objects
    )
    sizes = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    (year / "Annotations" / f"{name}.xml").write_text(f"<annotation>{sizes}{found}</annotation>")


def write_set(year: Path, name: str, *pictures: str) -> None:
    (year / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    (year / "ImageSets" / "Main" / f"{name}.txt").write_text("".join(f"{picture}\n" for picture in pictures))


def one_year(root: Path) -> Path:
    year = root / "VOCdevkit" / "MINE"
    write_picture(year, "a", [DOG, HARD_CAT])
    write_picture(year, "b", [])
    write_picture(year, "c", [CAT])
    write_set(year, "train", "b", "a")
    write_set(year, "val", "c -1")
    return year


def paper_years(root: Path) -> Path:
    old, new = root / "VOCdevkit" / "VOC2007", root / "VOCdevkit" / "VOC2012"
    for year, names in ((old, ("1", "2", "3")), (new, ("1", "4", "5"))):
        for name in names:
            write_picture(year, name, [DOG, CAT])
    write_set(old, "train", "1")
    write_set(old, "val", "2")
    write_set(old, "trainval", "1", "2")
    write_set(old, "test", "3")
    write_set(new, "train", "1", "4")
    write_set(new, "val", "5")
    write_set(new, "trainval", "1", "4", "5")
    return root / "VOCdevkit"


def files(dataset: CocoDataset) -> list[str]:
    return [dataset.file_name(index) for index in range(len(dataset))]


def test_boxes_count_from_one_and_include_their_last_pixel(tmp_path: Path) -> None:
    one_year(tmp_path)
    data = resolve_data(str(tmp_path))
    assert (data.format, data.num_categories, data.name) == ("voc", 2, tmp_path.name)
    train, val = open_split(data, "train"), open_split(data, "val")
    assert train.categories == val.categories == ["cat", "dog"]
    assert files(train) == ["MINE/JPEGImages/b.jpg", "MINE/JPEGImages/a.jpg"]
    assert train.instances(1).boxes.tolist() == [[0, 0, 10, 5]]
    assert train.instances(1).labels.tolist() == [2]
    assert val.instances(0).boxes.tolist() == [[10, 5, 40, 30]]
    assert val.image(0).shape == (30, 40, 3)
    assert not train.has_masks
    assert preflight(data) == []


def test_difficult_objects_are_ground_truth_to_ignore_and_not_trained_on(tmp_path: Path) -> None:
    one_year(tmp_path)
    train = open_split(resolve_data(str(tmp_path)), "train")
    assert train.repairs == {"difficult objects kept out of training": 1}
    dog, cat = train.ground_truth()["annotations"]
    assert (dog["ignore"], dog["difficult"], dog["iscrowd"], dog["area"]) == (0, 0, 0, 50)
    assert (cat["ignore"], cat["difficult"], cat["iscrowd"], cat["bbox"]) == (1, 1, 0, [2, 2, 6, 6])


def test_both_years_give_the_papers_sets(tmp_path: Path) -> None:
    paper_years(tmp_path)
    data = resolve_data(str(tmp_path))
    assert (data.train_annotations, data.val_annotations) == ("VOC2007/trainval+VOC2012/train", "VOC2012/val")
    train = open_split(data, "train")
    assert files(train) == [f"VOC{name}.jpg" for name in _pictures("2007/1", "2007/2", "2012/1", "2012/4")]
    assert len(set(train.image_ids)) == 4


def _pictures(*names: str) -> list[str]:
    return [name.replace("/", "/JPEGImages/") for name in names]


def test_one_year_alone_and_sets_of_ones_own_can_be_taken(tmp_path: Path) -> None:
    devkit = paper_years(tmp_path)
    assert resolve_data(str(devkit)).val_annotations == "VOC2012/val"
    assert resolve_data(str(devkit / "VOC2007")).train_annotations == "VOC2007/train"
    own = resolve_voc(devkit, "VOC2012/trainval", "VOC2007/test")
    assert files(open_split(own, "val")) == ["VOC2007/JPEGImages/3.jpg"]
    for year in ("VOC2007", "VOC2012"):
        (devkit / year / "ImageSets" / "Main" / "val.txt").unlink()
    alone = resolve_data(str(devkit / "VOC2007"))
    assert (alone.train_annotations, alone.val_annotations) == ("VOC2007/trainval", "VOC2007/test")
    with pytest.raises(DataError, match="no image sets for both splits"):
        resolve_data(str(devkit / "VOC2012"))


def test_content_not_place_decides_the_checksums(tmp_path: Path) -> None:
    first, second = (one_year(tmp_path / name) for name in ("one", "two"))
    one, two = resolve_data(str(tmp_path / "one")), resolve_data(str(tmp_path / "two"))
    assert (one.train_checksum, one.val_checksum) == (two.train_checksum, two.val_checksum)
    assert one.train_checksum != one.val_checksum
    write_picture(second, "a", [DOG, HARD_CAT, CAT])
    assert resolve_data(str(tmp_path / "two")).train_checksum != one.train_checksum
    write_picture(second, "unlisted", [CAT])
    write_set(first, "train", "a", "b")
    assert resolve_data(str(tmp_path / "one")).train_checksum != one.train_checksum


def test_annotations_changed_after_planning_are_refused(tmp_path: Path) -> None:
    year = one_year(tmp_path)
    data = resolve_data(str(tmp_path))
    truth = open_split(data, "val")
    write_picture(year, "c", [CAT, DOG])
    with pytest.raises(DataError, match="annotations were changed"):
        truth.ground_truth()


def test_everything_wrong_with_files_is_told_at_once(tmp_path: Path) -> None:
    year = one_year(tmp_path)
    for name in ("cut", "nameless", "boxless", "nan", "word"):
        write_picture(year, name, [DOG])
        path = year / "Annotations" / f"{name}.xml"
        text = path.read_text()
        path.write_text(
            {
                "cut": text[:50],
                "nameless": text.replace("<name>dog</name>", "", 1),
                "boxless": text.replace("<xmin>1</xmin>", "", 1),
                "nan": text.replace("<xmax>10", "<xmax>nan"),
                "word": text.replace("<xmax>10", "<xmax>ten"),
            }[name]
        )
    write_set(year, "train", "a", "a", "gone", "cut", "nameless", "boxless", "nan", "word")
    with pytest.raises(DataError) as caught:
        resolve_data(str(tmp_path))
    told = "\n".join(caught.value.problems)
    assert "1 x pictures are listed twice: MINE/a" in told
    assert "1 x annotation files of listed pictures are not there: MINE/Annotations/gone.xml" in told
    assert "1 x annotation files are no readable XML: MINE/Annotations/cut.xml" in told
    assert "4 x objects lack name or box: MINE/Annotations/nameless.xml (object 1)" in told
    write_set(year, "train")
    with pytest.raises(DataError, match="image sets are empty"):
        resolve_data(str(tmp_path))


def test_a_size_of_zero_is_read_from_the_picture(tmp_path: Path) -> None:
    year = one_year(tmp_path)
    write_picture(year, "a", [DOG], size=(0, 0))
    train = open_split(resolve_data(str(tmp_path)), "train")
    assert (train.heights.tolist(), train.widths.tolist()) == ([30, 30], [40, 40])
    (year / "JPEGImages" / "a.jpg").unlink()
    with pytest.raises(DataError, match="no whole height and width"):
        resolve_data(str(tmp_path))


def test_missing_pictures_are_told(tmp_path: Path) -> None:
    year = one_year(tmp_path)
    data = resolve_data(str(tmp_path))
    (year / "JPEGImages" / "c.jpg").unlink()
    assert "1 of 1 pictures are not in" in preflight(data)[0]


@pytest.mark.parametrize("split", ["train", "val"])
def test_real_voc_data_are_what_their_coco_json_says(split: str) -> None:
    root = shared("bccd_voc")
    voc, coco = resolve_data(str(root)), resolve_data(f"coco:{root}")
    assert (voc.format, coco.format) == ("voc", "coco")
    ours, theirs = (open_split(data, "train" if split == "train" else "val") for data in (voc, coco))
    assert ours.categories == theirs.categories
    by_name = {theirs.file_name(index): index for index in range(len(theirs))}
    assert len(ours) == len(theirs) == len(by_name)
    for index in range(len(ours)):
        found, expected = ours.instances(index), theirs.instances(by_name[Path(ours.file_name(index)).name])
        assert np.array_equal(found.boxes, expected.boxes)
        assert np.array_equal(found.labels, expected.labels)


def test_defaults_drop_the_mask_head_and_specs_survive_storage() -> None:
    data = resolve_data(str(shared("bccd_voc")))
    fitted = data_defaults(data).applied_to(trial(shapes_spec()))
    assert fitted.model.mask_head is None
    spec = trial(data)
    assert type(spec).from_dict(spec.to_dict()).trial_id == spec.trial_id
    assert spec.problems() == []
    assert DataSpec(format="voc").format == "voc"
