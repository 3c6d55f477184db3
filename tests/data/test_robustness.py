"""What users' data do to us, case by case: each stops with the file and the record named, or is repaired and counted,
or simply works. Every case goes the way of ``--data``: the folder is resolved, checked, opened and trained on."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raystudy.data.defaults import data_defaults
from raystudy.data.loader import TrainLoader
from raystudy.data.preflight import preflight
from raystudy.data.resolve import resolve_data
from raystudy.data.splits import open_split
from raystudy.data.subset import statistics_of
from raystudy.errors import DataError
from raystudy.spec.data import DataSpec
from tests.data.damages import REPAIRED, STOPS, WORKS, Damage, content_is
from tests.data.synthetic import annotation, coco_content, trial, write_coco


def write(root: Path, damage: Damage) -> Path:
    """A data set whose training part is damaged and whose validation part is sound."""
    write_coco(root, coco_content(), "instances_val.json")
    (root / "images").rename(root / "val")
    write_coco(root, coco_content())
    (root / "images").rename(root / "train")
    content = damage(coco_content(), root / "train")
    (root / "instances_train.json").write_text(json.dumps(content))
    return root


def problems_of(root: Path) -> list[str]:
    try:
        return preflight(resolve_data(str(root)), needs_masks=True, thorough=True)
    except DataError as e:
        return e.problems


def train_on(data: DataSpec) -> None:
    spec = data_defaults(data).applied_to(trial(data))
    loader = TrainLoader(open_split(data, "train"), spec, 0, 1)
    for batch in loader.batches(0, 3):
        for target, (height, width) in zip(batch.targets, batch.sizes, strict=True):
            assert target.masks is not None
            assert len(target.masks) == len(target.boxes)
            assert bool((target.boxes >= 0).all())
            assert bool((target.boxes[:, 2] <= width).all())
            assert bool((target.boxes[:, 3] <= height).all())


@pytest.mark.parametrize("case", STOPS)
def test_what_cannot_be_used_stops_and_names_file_and_record(tmp_path: Path, case: str) -> None:
    damage, expected = STOPS[case]
    found = "\n".join(problems_of(write(tmp_path, damage)))
    assert [text for text in expected if text not in found] == [], found


@pytest.mark.parametrize("case", REPAIRED)
def test_what_can_be_repaired_is_counted_and_trained_on(tmp_path: Path, case: str) -> None:
    damage, counted, num_instances = REPAIRED[case]
    root = write(tmp_path, damage)
    assert problems_of(root) == []
    data = resolve_data(str(root))
    assert statistics_of(open_split(data, "train"))["repairs"] == counted
    dataset = open_split(data, "train")
    found = dataset.instances(dataset.image_ids.index(7))
    assert len(found) == num_instances
    assert found.masks is not None
    assert found.masks.window(40, 30).any(axis=(1, 2)).all()
    train_on(data)


@pytest.mark.parametrize("case", WORKS)
def test_what_is_merely_unusual_works(tmp_path: Path, case: str) -> None:
    root = write(tmp_path, WORKS[case])
    assert problems_of(root) == []
    data = resolve_data(str(root))
    dataset = open_split(data, "train")
    assert dataset.image(0).shape == (30, 40, 3)
    assert dataset.repairs == {}
    truth = dataset.ground_truth()["annotations"]
    assert len({a["id"] for a in truth}) == 3
    assert all(a["area"] > 0 and a["id"] != 0 and a["iscrowd"] in (0, 1) for a in truth)
    train_on(data)


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no json": (Path.unlink, "no annotations for train"),
    "an empty json": (lambda path: path.write_bytes(b""), "instances_train.json are empty"),
    "blanks": (lambda path: path.write_text(" \n"), "instances_train.json are empty"),
    "a json that is cut off": (lambda path: path.write_text(path.read_text()[:-9]), "instances_train.json are no json"),
    "a table": (lambda path: path.write_text("image,box\n"), "instances_train.json are no json"),
    "another coding": (lambda path: path.write_bytes(b'{"images": "\xe4"}'), "instances_train.json are no json"),
    "no end of brackets": (lambda path: path.write_text("[" * 100_000), "instances_train.json are no json"),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_are_no_annotations_are_named(tmp_path: Path, case: str) -> None:
    write(tmp_path, content_is(lambda c: c))
    damage, expected = FILES[case]
    damage(tmp_path / "instances_train.json")
    assert expected in "\n".join(problems_of(tmp_path))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"fraction": 0.01}, "a subset of 0.01 of 2 images has 0, but must have 1 to 2"),
        ({"num_images": 3}, "must have 1 to 2"),
        ({"fraction": 0.0}, "must be in (0, 1]"),
        ({"num_images": 1, "fraction": 0.5}, "drop one"),
        ({"num_categories": 3}, "has 2 categories, but the spec says 3"),
        ({"num_images": 1, "stratified": True, "subset_seed": 1}, "cannot hold every category"),
        ({"train_checksum": "sha256-0000000000000000"}, "the annotations were changed"),
    ],
)
def test_subsets_that_cannot_be_are_refused(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    one_each = coco_content(annotations=[annotation(1, 7, 5), annotation(2, 9, 2)])
    data = resolve_data(str(write(tmp_path, content_is(lambda c: one_each))))
    assert expected in "\n".join(preflight(dataclasses.replace(data, **changes)))


def test_a_subset_in_which_nothing_is_annotated_is_refused(tmp_path: Path) -> None:
    lonely = coco_content(annotations=[annotation(1, 7, 5)])
    data = resolve_data(str(write(tmp_path, content_is(lambda c: lonely))))
    found = [preflight(dataclasses.replace(data, num_images=1, subset_seed=seed)) for seed in range(8)]
    assert sorted({len(problems) for problems in found}) == [0, 1]
    assert any("none of the 1 images of the training subset has an instance" in str(problems) for problems in found)


def test_the_table_is_long_enough() -> None:
    assert len(STOPS) + len(REPAIRED) + len(WORKS) + len(FILES) >= 40
