"""The same pictures by both inits, once each in the page."""

from pathlib import Path

import pytest

from analysis import examples
from analysis.evidence import evidence
from analysis.examples import category_names, examples_html, iou, judge
from analysis.load import StudyTable, load_study
from tests.analysis.synthetic import catch_up, trial, write_study
from tests.analysis.with_examples import instance, write_examples

DISC = instance(1, [2.0, 2.0, 12.0, 12.0], 0.9)
STAR = instance(2, [20.0, 20.0, 30.0, 30.0], 0.8)


@pytest.fixture
def study(tmp_path: Path) -> StudyTable:
    specs = [trial(init, k) for init in ("random", "pretrained") for k in (1, 2)]
    name = write_study(tmp_path, specs, catch_up)
    for spec in specs:
        folder = tmp_path / "segments" / f"{spec.trial_id}-branch" / "examples" / str(spec.schedule.total)
        write_examples(folder, [DISC] if spec.init.kind == "random" else [DISC, STAR])
    return load_study(str(tmp_path), name)


def test_boxes_overlap_as_they_should() -> None:
    assert iou([0, 0, 2, 2], [0, 0, 2, 2]) == 1
    assert iou([0, 0, 2, 2], [1, 0, 3, 2]) == pytest.approx(1 / 3)
    assert iou([0, 0, 1, 1], [2, 2, 3, 3]) == 0


def test_an_object_is_found_once_and_by_its_own_category() -> None:
    objects = [instance(1, [0, 0, 10, 10]), instance(2, [20, 20, 30, 30])]
    again, other = instance(1, [0, 0, 10, 9], 0.8), instance(1, [20, 20, 30, 30], 0.7)
    unsure = instance(2, [20, 20, 30, 30], 0.3)
    found = judge(objects, [instance(1, [0, 0, 10, 10], 0.9), again, other, unsure])
    assert [one["score"] for one in found.right] == [0.9]
    assert found.wrong == [again, other]
    assert found.missed == [objects[1]]


def test_both_inits_stand_beside_the_annotation_and_a_picture_is_stored_once(study: StudyTable) -> None:
    text = examples_html(study, evidence(study))
    assert text.count("data:image/jpeg;base64,") == 3
    assert text.count("<use ") == 3 * 3
    assert text.count("random: 1 of 2 found, 0 wrong") == 2 * 3  # the caption and the label for readers of screens
    assert text.count("pre-trained: 2 of 2 found, 0 wrong") == 2 * 3
    assert "<star>" not in text


def test_pictures_stop_where_the_page_would_grow_too_large(study: StudyTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "MAX_BYTES", 5000)
    text = examples_html(study, evidence(study))
    assert 1 <= text.count("data:image/jpeg") < 3
    monkeypatch.setattr(examples, "MAX_BYTES", 10)
    assert examples_html(study, evidence(study)) == ""


def test_categories_have_the_names_of_the_data(study: StudyTable) -> None:
    assert category_names(study, evidence(study)[0]) == ["disc", "<star>"]


def test_a_study_without_pictures_has_no_such_section(tmp_path: Path) -> None:
    table = load_study(str(tmp_path), write_study(tmp_path, [trial("random", 1), trial("pretrained", 1)], catch_up))
    assert examples_html(table, evidence(table)) == ""
    assert category_names(table, evidence(table)[0]) == []
