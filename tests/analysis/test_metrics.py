"""Differences beyond AP, from stored matches, and the evidence that carries them."""

from pathlib import Path

import numpy as np
import pytest

from analysis.evidence import SettingEvidence, evidence
from analysis.load import StudyTable, load_study
from analysis.metrics import category_deltas, iou_deltas, metric_deltas
from analysis.report import write_report
from analysis.statistics import NUM_DRAWS
from raystudy.errors import StorageError
from raystudy.spec.trial import TrialSpec
from tests.analysis.synthetic import catch_up
from tests.analysis.with_matches import demo_specs, write_study_with_matches


def worse_at_random(spec: TrialSpec) -> float:
    return 0.35 if spec.init.kind == "random" else 0.8


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyTable:
    folder = tmp_path_factory.mktemp("matches")
    specs = demo_specs(seeds=(0,), ks=(1, 2))
    name = write_study_with_matches(folder, specs, worse_at_random, catch_up, num_images=60)
    return load_study(str(folder), name)


@pytest.fixture(scope="module")
def found(study: StudyTable) -> SettingEvidence:
    (one,) = evidence(study)
    return one


def test_one_seed_with_matches_has_an_interval_of_the_pictures_alone(found: SettingEvidence) -> None:
    assert found.draws is not None
    assert found.draws.has_images
    assert not found.draws.has_seeds
    gap = found.deltas[180]
    assert gap.low < gap.value < gap.high < 0


def test_the_estimate_is_that_of_the_rows(study: StudyTable, found: SettingEvidence) -> None:
    """A draw in which every picture counts once is what the row says."""
    for (trial_id, kind), ap in found.observed_ap.items():
        if kind == "box":
            rows = study.val[study.val["trial_id"] == trial_id]
            assert np.nanmean(ap) == pytest.approx(rows["box_ap"].iloc[-1], abs=1e-9)


def test_every_iou_and_every_category_is_compared(found: SettingEvidence) -> None:
    ious = iou_deltas(found)
    assert [iou for iou, _ in ious][::9] == [0.5, 0.95]
    assert ious[0][1].high < 0
    assert np.mean([gap.value for _, gap in ious]) == pytest.approx(found.deltas[180].value, abs=1e-9)
    categories = category_deltas(found)
    assert sorted(number for number, _ in categories) == [1, 2, 3]
    sizes = [abs(gap.value) for _, gap in categories]
    assert sizes == sorted(sizes, reverse=True)


def test_a_metric_without_matches_has_no_interval_beside_those_with(study: StudyTable, found: SettingEvidence) -> None:
    lines = {name: gap for name, _, _, gap in metric_deltas(study, found)}
    assert lines["box AP"].is_known
    assert lines["box AP"].low == found.deltas[180].low


def test_sizes_of_objects_have_intervals_of_their_own(found: SettingEvidence) -> None:
    """The draws of one size's AP scatter around what COCOeval's rule gives for the pictures as they are."""
    for (trial_id, kind, area), drawn in found.area_draws.items():
        assert drawn.shape == (NUM_DRAWS,), (trial_id, kind, area)
        assert np.std(drawn) > 0
    assert {area for _, kind, area in found.area_draws if kind == "box"} <= {"small", "medium", "large"}
    assert len(found.area_draws) > 0


def test_matches_of_something_else_are_refused(tmp_path: Path) -> None:
    specs = demo_specs(seeds=(0,), ks=(1,))
    name = write_study_with_matches(tmp_path, specs, worse_at_random, catch_up, num_images=30)
    record = tmp_path / "trials" / f"{specs[0].trial_id}.json"
    record.write_text(record.read_text().replace('"metrics": {}', '"metrics": {"box_ap": 99.0}'))
    with pytest.raises(StorageError, match=r"gives box AP .* ended at 99\.00"):
        evidence(load_study(str(tmp_path), name))


def test_one_seed_is_said_to_speak_of_these_weights(study: StudyTable, tmp_path: Path) -> None:
    report = write_report(study.storage, study.name, tmp_path)
    assert "one seed, so this speaks of these weights and not of the method" in report.sentence
    assert "One seed: they say how these weights would fare on other pictures" in report.path.read_text()
