"""The metric that a study is answered by: keypoint AP or VOC AP where its detectors are for that."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from analysis.answer import findings
from analysis.bootstrap import draw_images, summary
from analysis.evidence import evidence
from analysis.leading import BOX, KEYPOINT, VOC, leading_metric
from analysis.load import load_study
from analysis.metrics import iou_deltas, metric_deltas
from analysis.report import write_report
from analysis.statistics import NUM_DRAWS
from raystudy import atomic
from raystudy.evaluation.coco import CocoEvaluator
from raystudy.evaluation.matches import Matches, average_precisions, precision_and_recall
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.model import KeypointHeadSpec
from raystudy.spec.trial import TrialSpec
from tests.analysis.synthetic import catch_up, trial, write_study
from tests.evaluation.test_keypoints import detected, made_people


def with_keypoints(spec: TrialSpec) -> TrialSpec:
    return dataclasses.replace(spec, model=dataclasses.replace(spec.model, keypoint_head=KeypointHeadSpec()))


def on_voc(spec: TrialSpec) -> TrialSpec:
    data = dataclasses.replace(spec.data, format="voc", shapes=None)
    return dataclasses.replace(spec, data=data)


def pairs(ks: tuple[int, ...] = (1, 2), seeds: tuple[int, ...] = (0,)) -> list[TrialSpec]:
    return [trial(init, k, seed) for init in ("random", "pretrained") for k in ks for seed in seeds]


def voc_truth(spec: TrialSpec, iteration: int) -> Mapping[str, float]:
    """Box AP says that random is behind, VOC AP that it is ahead by 8; seeds differ a little."""
    is_random = spec.init.kind == "random"
    return {"box_ap": 20.0 if is_random else 30.0, "voc_ap": (58.0 if is_random else 50.0) + 0.2 * spec.seed}


def test_a_study_is_answered_by_what_its_detectors_are_for() -> None:
    boxes = [spec.to_dict() for spec in pairs()]
    keypoints = [with_keypoints(spec).to_dict() for spec in pairs()]
    voc = [on_voc(spec).to_dict() for spec in pairs()]
    columns = ("box_ap", "keypoint_ap", "voc_ap")
    assert leading_metric(boxes, columns) is BOX
    assert leading_metric(keypoints, columns) is KEYPOINT
    assert leading_metric(voc, columns) is VOC
    assert leading_metric([*boxes, *keypoints], columns) is BOX
    assert leading_metric(voc, ("box_ap",)) is BOX
    assert leading_metric([], ()) is BOX


def test_voc_data_are_answered_by_voc_ap_and_one_seed_has_no_interval(tmp_path: Path) -> None:
    name = write_study(tmp_path, [on_voc(spec) for spec in pairs()], voc_truth)
    report = write_report(str(tmp_path), name)
    assert report.sentence.startswith("As measured, random init ends ahead")
    assert "no confidence interval can be given: one seed, and VOC AP has no per-picture matches" in report.sentence
    assert report.table[0] == ("schedule", "random", "pre-trained", "Δ VOC AP", "95% CI", "seeds")
    assert report.table[-1] == ("2x", "58.0", "50.0", "+8.0", "–", "1")
    page = report.path.read_text()
    assert "VOC AP (shaded: within 1 AP)" in page
    assert '"metrics":[["voc_ap","VOC AP at IoU 0.5"],["box_ap","box AP"]]' in page
    assert "The paper beside it" not in page


def test_seeds_give_voc_ap_an_interval_that_is_said_to_be_of_seeds_alone(tmp_path: Path) -> None:
    name = write_study(tmp_path, [on_voc(spec) for spec in pairs(seeds=(0, 1, 2))], voc_truth)
    report = write_report(str(tmp_path), name)
    assert "the interval is of seeds alone, validation pictures taken as given" in report.sentence
    page = report.path.read_text()
    assert "The validation pictures are taken as given: VOC AP has no per-picture matches" in page
    (one,) = evidence(load_study(str(tmp_path), name))
    # Student's, four degrees of freedom, standard deviation 0.2 in both arms of three seeds: 2.776 * 0.2 * sqrt(2 / 3).
    assert one.end_gap.high - one.end_gap.value == pytest.approx(0.453, rel=0.15)


def test_keypoints_have_intervals_from_their_own_matches(tmp_path: Path) -> None:
    people, stored, finals = made_people(3, num_images=30), {}, {}
    specs = [with_keypoints(spec) for spec in pairs()]
    for number, spec in enumerate(specs):
        batch, detections = detected(people, number, 0.09 if spec.init.kind == "random" else 0.05)
        evaluator = CocoEvaluator(people, [1], EvalSpec(), with_masks=False, with_keypoints=True)
        evaluator.process(batch, detections)
        finals[spec.trial_id] = evaluator.evaluate()
        stored[spec.trial_id] = evaluator.matches()

    def truth(spec: TrialSpec, iteration: int) -> Mapping[str, float]:
        metrics = {key: value for key, value in finals[spec.trial_id].items() if not np.isnan(value)}
        share = iteration / spec.schedule.total
        return catch_up(spec, iteration) | {key: share * value for key, value in metrics.items() if "_ap" in key}

    name = write_study(tmp_path, specs, truth)
    for trial_id, by_kind in stored.items():
        total = next(spec.schedule.total for spec in specs if spec.trial_id == trial_id)
        place = tmp_path / "segments" / f"{trial_id}-branch" / "matches" / str(total)
        atomic.publish_folder(place, functools.partial(save, by_kind))
    study = load_study(str(tmp_path), name)
    (one,) = evidence(study)

    ends = {init: one.trial_ids[init, 180, 0] for init in ("random", "pretrained")}
    expected = finals[ends["random"]]["keypoint_ap"] - finals[ends["pretrained"]]["keypoint_ap"]
    assert one.end_gap.value == pytest.approx(expected, abs=1e-6)
    assert one.end_gap.low < expected < one.end_gap.high < 0
    weights = draw_images(30, NUM_DRAWS)
    for trial_id in ends.values():
        ours = summary(one.ap_draws[trial_id, "keypoint"])
        for draw in (0, 1, NUM_DRAWS - 1):
            drawn = weights[:, draw].astype(np.int64)
            precision, _ = precision_and_recall(stored[trial_id]["keypoint"], image_weights=drawn)
            assert ours[draw] == pytest.approx(average_precisions(precision)["ap"], abs=1e-6)

    lines = {metric: gap for metric, _, _, gap in metric_deltas(study, one)}
    assert lines["keypoint AP"] == one.end_gap
    assert lines["keypoint AP50"].is_known
    assert lines["box AP"].is_known
    assert lines["box AP"].value != lines["keypoint AP"].value
    assert len(iou_deltas(one)) == 10
    assert np.mean([gap.value for _, gap in iou_deltas(one)]) == pytest.approx(expected, abs=1e-6)
    assert "keypoint AP and pre-trained" in dict(findings(study, [one]))["At the end"]
    page = write_report(str(tmp_path), name).path.read_text()
    assert "where keypoints must be sharper? By OKS at 2x" in page
    assert "Largest differences by category" not in page


def save(by_kind: Mapping[str, Matches], folder: Path) -> None:
    for kind, matches in by_kind.items():
        matches.save(folder / f"{kind}.npz")
