"""What a plan's arms will have seen, before anything is trained."""

import dataclasses
import math

import pytest

from raystudy.spec.exposure import (
    COCO_TRAIN,
    UNKNOWN,
    DataCounts,
    Seen,
    detection_exposure,
    expected_exposure,
    known_counts,
    pretraining_exposure,
)
from raystudy.spec.plan import make_plan
from raystudy.spec.presets import init_axis, load_preset
from raystudy.spec.study import StudySpec
from raystudy.spec.trial import InitSpec

PAPER = load_preset("paper")


def test_the_paper_preset_gives_the_six_totals_of_figure_2() -> None:
    study = StudySpec(name="s", base=PAPER.base, axes=(init_axis(), PAPER.schedule_axis(), PAPER.seed_axis((0, 1))))
    study = dataclasses.replace(study, pretraining=PAPER.pretraining)
    arms = {(arm.init, arm.schedule): arm for arm in expected_exposure(make_plan(study.trials()), known_counts)}
    assert len(arms) == 10  # seeds see equally much
    seen = [arms["pretrained", "2x"].total, arms["random", "6x"].total]
    assert [round(one.images / 1e6, 1) for one in seen] == [131.0, 8.6]
    assert [round(one.instances / 1e6, 1) for one in seen] == [149.1, 62.8]
    assert [round(one.pixels / 1e12, 1) for one in seen] == [9.5, 9.2]


def test_totals_add_up_and_what_is_not_known_stays_unknown() -> None:
    assert Seen(images=1, instances=2, pixels=3) + Seen(images=4) == Seen(images=5, instances=2, pixels=3)
    assert pretraining_exposure(InitSpec()) is None
    assert pretraining_exposure(InitSpec(kind="pretrained", weights_id="brought", weights_file="x.pth")) is UNKNOWN
    told = InitSpec(kind="pretrained", weights_id="brought", weights_file="x.pth", weights_images=7)
    assert pretraining_exposure(told) == Seen(images=7, instances=7, pixels=7 * 224 * 224)
    seen = detection_exposure(PAPER.base, None)
    assert math.isnan(seen.instances)
    assert seen.images == PAPER.base.schedule.total * 16


def test_instances_follow_from_their_mean_number() -> None:
    counts = DataCounts(images=4, instances=10, source="")
    assert detection_exposure(PAPER.base, counts).instances == PAPER.base.schedule.total * 16 * 2.5
    assert math.isnan(DataCounts(images=0, instances=0, source="").instances_per_image)


@pytest.mark.parametrize(
    "changes",
    [
        {"instances_per_image": 2},
        {"num_categories": 20},
        {"train_annotations": "mine.json"},
        {"train_checksum": "sha256-1"},
        {"format": "voc"},
    ],
    ids=str,
)
def test_cocos_counts_stand_in_for_nothing_else(changes: dict[str, object]) -> None:
    data = PAPER.base.data
    assert known_counts(dataclasses.replace(data, num_images=1000)) is COCO_TRAIN
    assert known_counts(dataclasses.replace(data, **changes)) is None  # type: ignore[arg-type]
