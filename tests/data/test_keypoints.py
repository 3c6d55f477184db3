"""Keypoints from the embedded shapes and from COCO's people: read, mirrored, and refused where there are none."""

import dataclasses
import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from raystudy.data.loader import TrainLoader
from raystudy.data.preflight import preflight
from raystudy.data.resolve import resolve_data
from raystudy.data.splits import open_split
from raystudy.spec.data import SHAPES_KEYPOINTS
from raystudy.spec.presets import load_preset, shapes_data
from raystudy.spec.variants import with_keypoints
from tests.data.synthetic import TINY, annotation, coco_content, shared, write_coco

NAMES = ["left_eye", "right_eye", "nose"]
SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "keypoints.py"


def people(folder: Path) -> None:
    """Instances without keypoints, and beside them the same with three."""
    write_coco(folder, coco_content())
    write_coco(folder, coco_content(), "instances_val.json")
    categories = [{"id": 5, "name": "nut", "keypoints": NAMES}]
    annotations = [annotation(1, 7, 5, 4, 6, 10, 8) | {"keypoints": [5, 7, 2, 12, 7, 1, 0, 0, 0], "num_keypoints": 2}]
    with_points = coco_content(categories=categories, annotations=annotations)
    write_coco(folder, with_points, "person_keypoints_train.json")
    write_coco(folder, with_points, "person_keypoints_val.json")


def test_keypoints_of_shapes_are_the_outermost_points_of_what_is_visible() -> None:
    data = shapes_data(dataclasses.replace(TINY, has_keypoints=True))
    dataset = open_split(data, "train")
    assert data.num_keypoints == dataset.num_keypoints == len(SHAPES_KEYPOINTS) == 4
    for index in range(10):
        found = dataset.instances(index)
        assert found.keypoints is not None
        assert found.masks is not None
        assert (found.keypoints[..., 2] == 2).all()
        left, top, right, bottom = found.keypoints[..., :2].transpose(1, 0, 2)
        expected = found.boxes + np.array([0.5, 0.5, -0.5, -0.5])
        assert np.array_equal(np.stack([left[:, 0], top[:, 1], right[:, 0], bottom[:, 1]], 1), expected)
        masks = found.masks.window(128, 128)
        for mask, points in zip(masks, found.keypoints, strict=True):
            columns, rows = points[:, :2].astype(int).T
            assert mask[rows, columns].all()


def test_a_mirror_swaps_left_and_right() -> None:
    dataset = open_split(shapes_data(dataclasses.replace(TINY, has_keypoints=True)), "train")
    found = dataset.instances(0)
    mirrored = found.flipped(128)
    assert found.keypoints is not None
    assert mirrored.keypoints is not None
    left, top, right, bottom = range(4)
    assert np.array_equal(mirrored.keypoints[:, left, 0], 128 - found.keypoints[:, right, 0])
    assert np.array_equal(mirrored.keypoints[:, right, 0], 128 - found.keypoints[:, left, 0])
    assert np.array_equal(mirrored.keypoints[:, [top, bottom], 1], found.keypoints[:, [top, bottom], 1])


def test_keypoints_leave_pictures_and_other_trials_as_they_are() -> None:
    plain, with_points = shapes_data(TINY), shapes_data(dataclasses.replace(TINY, has_keypoints=True))
    assert plain.train_checksum != with_points.train_checksum
    pictures = [open_split(data, "train").image(3) for data in (plain, with_points)]
    assert np.array_equal(*pictures)
    base = load_preset("smoke").base
    named = dataclasses.replace(base, data=dataclasses.replace(base.data, num_keypoints=4))
    assert named.trial_id == base.trial_id


def test_the_json_with_keypoints_is_read_where_they_are_needed(tmp_path: Path) -> None:
    people(tmp_path)
    assert resolve_data(str(tmp_path)).num_keypoints == 0
    data = resolve_data(str(tmp_path), with_keypoints=True)
    assert data.train_annotations.endswith("person_keypoints_train.json")
    assert (data.num_keypoints, data.num_categories) == (3, 1)
    trial = with_keypoints(load_preset("demo", data))
    assert trial.model.keypoint_head is not None
    assert trial.model.keypoint_head.num_keypoints == 3
    assert len(trial.evaluation.keypoint_sigmas) == 3
    assert preflight(data, num_keypoints=3) == []


def test_data_without_keypoints_or_with_others_is_refused(tmp_path: Path) -> None:
    people(tmp_path)
    assert (
        "has no keypoints, which the keypoint head needs" in preflight(resolve_data(str(tmp_path)), num_keypoints=3)[0]
    )
    other = preflight(resolve_data(str(tmp_path), with_keypoints=True), num_keypoints=17)
    assert "has 3 keypoints, but the keypoint head 17" in other[0]
    assert "shapes have no keypoints" in preflight(shapes_data(TINY), num_keypoints=4)[0]


def test_the_script_tells_so_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_coco(tmp_path / "data", coco_content())
    write_coco(tmp_path / "data", coco_content(), "instances_val.json")
    arguments = ["--preset", "smoke", "--data", str(tmp_path / "data"), "--storage", str(tmp_path / "storage")]
    monkeypatch.setattr("sys.argv", [str(SCRIPT), *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.count("has no keypoints, which the keypoint head needs; give data with person_keypoints") == 2
    assert "Traceback" not in told


@pytest.mark.parametrize("folder", ["coco_permissive", "coco_person1"])
def test_cocos_people_have_17(folder: str) -> None:
    data = resolve_data(str(shared(folder)), with_keypoints=True)
    assert (data.num_keypoints, data.num_categories) == (17, 1)
    assert preflight(data, num_keypoints=17) == []


def test_training_leaves_out_pictures_without_any_labelled_keypoint(tmp_path: Path) -> None:
    people(tmp_path)
    path = tmp_path / "person_keypoints_train.json"
    content = json.loads(path.read_text())
    content["annotations"].append(annotation(2, 9) | {"keypoints": [0] * 9, "num_keypoints": 0})
    path.write_text(json.dumps(content))
    data = resolve_data(str(tmp_path), with_keypoints=True)
    dataset, base = open_split(data, "train"), load_preset("demo", data).base
    assert dataset.instance_counts.tolist() == [1, 1]
    assert dataset.labelled_keypoint_counts.tolist() == [2, 0]
    assert TrainLoader(dataset, base, 0, 1).num_images == 2
    assert TrainLoader(dataset, with_keypoints(load_preset("demo", data)), 0, 1).num_images == 1
