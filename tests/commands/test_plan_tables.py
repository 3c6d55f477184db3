"""What a plan says of its training sets and of what its arms will have seen."""

import dataclasses
import json
from hashlib import sha256
from pathlib import Path

import pytest

from raystudy.commands.plan_tables import data_lines, exposure_lines, plan_parts, quantity
from raystudy.data.plan_statistics import quick_statistics
from raystudy.data.splits import open_split
from raystudy.provenance import WeightsProvenance
from raystudy.spec.data import DataSpec
from raystudy.spec.plan import Plan, make_plan
from raystudy.spec.presets import fraction_axis, init_axis
from raystudy.spec.study import StudySpec
from raystudy.spec.trial import InitSpec
from tests.data.synthetic import coco_content, write_coco
from tests.tiny_trials import DATA, tiny_trial


def _plan(base_data: DataSpec) -> Plan:
    base = dataclasses.replace(tiny_trial(), data=base_data)
    return make_plan(StudySpec(name="s", base=base, axes=(fraction_axis((1.0, 0.5)), init_axis(("random",)))).trials())


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSTUDY_CACHE", str(tmp_path / "cache"))


def test_shapes_that_are_not_rendered_are_not_waited_for(tmp_path: Path) -> None:
    assert data_lines(_plan(DATA)) == []
    lines, sources = exposure_lines(_plan(DATA))
    assert [line[2] for line in lines[1:]] == ["?", "?"]
    assert sources == []
    assert len(plan_parts(_plan(DATA))) == 3
    assert not (tmp_path / "cache").exists()


def test_each_training_set_is_told_with_its_instances() -> None:
    part = dataclasses.replace(DATA, fraction=0.5)
    wholes = {data.subset_label: open_split(data, "train") for data in (DATA, part)}
    header, *lines = data_lines(_plan(DATA))
    assert header[2:4] == ["images", "instances"]
    assert {line[0]: line[2:4] for line in lines} == {
        f"shapes {label}": [str(len(whole)), str(whole.instance_counts.sum())] for label, whole in wholes.items()
    }
    (_, *lines), sources = exposure_lines(_plan(DATA))
    expected = 8 * 2 * wholes["f50"].instance_counts.mean()
    assert lines[1] == ["random, 8it, f50", "16", f"{expected:,.0f}", f"{16 * 800 * 1333 / 1e6:.1f}M"]
    assert sources == ["the annotations of what is trained on"]


def test_pictures_without_instances_are_not_trained_on_and_do_not_count(tmp_path: Path) -> None:
    content = coco_content()
    content["images"].append({"id": 99, "file_name": "empty.png", "width": 40, "height": 30})
    path = str(write_coco(tmp_path, content))
    data = DataSpec(train_annotations=path, train_images=str(tmp_path / "images"), num_categories=2)
    trained_on = len({annotation["image_id"] for annotation in content["annotations"]})
    (_, line), _ = exposure_lines(make_plan([dataclasses.replace(tiny_trial(), data=data)]))
    assert line[1:3] == ["16", f"{16 * len(content['annotations']) / trained_on:,.0f}"]


def test_data_that_are_not_at_hand_are_not_waited_for(tmp_path: Path) -> None:
    data = DataSpec(train_annotations=str(tmp_path / "gone.json"), num_categories=2)
    assert quick_statistics(data) is None
    assert quick_statistics(dataclasses.replace(data, remote="s3://nowhere", remote_version="1")) is None


def test_a_weights_file_tells_what_it_has_seen(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"weights")
    told = WeightsProvenance(
        source="raystudy pretrain",
        images_seen=500,
        pixels_nominal_seen=500 * 224**2,
        sha256=sha256(b"weights").hexdigest(),
    )
    (tmp_path / "provenance.json").write_text(json.dumps(told.to_dict()))
    init = InitSpec(kind="pretrained", weights_id="w", weights_file=str(path))
    for given, images in ((init, "516 (97% before)"), (dataclasses.replace(init, weights_file="gone.pt"), "?")):
        (_, line), _ = exposure_lines(make_plan([dataclasses.replace(tiny_trial(), init=given)]))
        assert line[:2] == ["pre-trained, 8it", images]


def test_quantities_are_short() -> None:
    told = [quantity(value) for value in (131.0e6, 9.4996e12, 1.8e9, 6480.0, float("nan"))]
    assert told == ["131.0M", "9.5T", "1.8G", "6,480", "?"]
