"""Our evaluator against pycocotools' COCOeval, on made and on real ground truth."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raystudy.data.batch import Detections
from raystudy.errors import DataError
from raystudy.evaluation.coco import CocoEvaluator
from raystudy.evaluation.matches import Matches, precision_and_recall
from raystudy.spec.evaluation import EvalSpec
from tests.evaluation.coco_peer import (
    NAMES,
    assert_equal_to_coco_eval,
    coco_eval,
    coco_results,
    jittered,
    made_ground_truth,
)

REAL_DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


@pytest.mark.parametrize("seed", range(4))
def test_every_number_equals_coco_eval_on_made_pictures(seed: int) -> None:
    labels = [7, 3, 90]
    truth = made_ground_truth(seed)
    metrics = assert_equal_to_coco_eval(truth, labels, *jittered(truth, labels, seed))
    assert 5 < metrics["box_ap"] < 95
    assert 1 < metrics["mask_ap"] < 95


def test_every_number_equals_coco_eval_when_the_network_saw_other_sizes() -> None:
    truth = made_ground_truth(5)
    assert_equal_to_coco_eval(truth, [3, 7, 90], *jittered(truth, [3, 7, 90], 5, scale=1.7))


def test_the_limit_of_detections_cuts_as_coco_eval_does() -> None:
    truth = made_ground_truth(6)
    batch, detections = jittered(truth, [3, 7, 90], 6, extra=60)
    assert_equal_to_coco_eval(truth, [3, 7, 90], batch, detections, most=12)


@pytest.mark.parametrize(
    ("name", "noise"), [("coco_permissive/instances_val.json", 0.08), ("dsb2018_small/instances_val_rle.json", 0.15)]
)
def test_every_number_equals_coco_eval_on_real_ground_truth(name: str, noise: float) -> None:
    if not (REAL_DATA / name).exists():
        pytest.skip(f"{name} is not there")
    truth = json.loads((REAL_DATA / name).read_text())
    truth["images"] = truth["images"][:20]
    labels = [category["id"] for category in truth["categories"]]
    assert_equal_to_coco_eval(truth, labels, *jittered(truth, labels, 0, noise))


def test_a_perfect_detector_has_an_ap_of_100() -> None:
    truth = made_ground_truth(1)
    truth["annotations"] = [a for a in truth["annotations"] if not a["iscrowd"]]
    batch, _ = jittered(truth, [3, 7, 90], 0)
    detections = []
    for image_id in batch.image_ids:
        mine = [a for a in truth["annotations"] if a["image_id"] == image_id]
        boxes = torch.tensor([a["bbox"] for a in mine], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = torch.tensor([[3, 7, 90].index(a["category_id"]) + 1 for a in mine], dtype=torch.int64)
        detections.append(Detections(boxes, torch.ones(len(mine)), labels))
    evaluator = CocoEvaluator(truth, [3, 7, 90], EvalSpec(), with_masks=False)
    evaluator.process(batch, detections)
    metrics = evaluator.evaluate()
    assert metrics["box_ap"] == pytest.approx(100)
    assert set(metrics) == {f"box_{name}" for name in NAMES}


def test_no_detection_gives_0_and_no_object_of_a_size_gives_nan() -> None:
    truth = made_ground_truth(2)
    for annotation in truth["annotations"]:
        annotation["area"] = 50.0
    batch, _ = jittered(truth, [3, 7, 90], 0)
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 28, 28))
    evaluator = CocoEvaluator(truth, [3], EvalSpec(), with_masks=True)
    evaluator.process(batch, [nothing] * len(batch.image_ids))
    metrics = evaluator.evaluate()
    assert metrics["box_ap"] == metrics["mask_ap"] == 0
    assert np.isnan(metrics["box_ap_large"])
    assert np.isnan(metrics["mask_ap_medium"])


def test_shards_in_any_order_give_the_numbers_of_the_whole() -> None:
    truth = made_ground_truth(3)
    batch, detections = jittered(truth, [3, 7, 90], 3)
    evaluator = CocoEvaluator(truth, [3, 7, 90], EvalSpec(), with_masks=True)
    evaluator.process(batch, detections)
    whole, expected = evaluator.results(), evaluator.evaluate()
    # The second shard repeats a picture, as samplers that pad do.
    assert evaluator.evaluate(whole[7:] + whole[:8]) == expected


def test_detections_of_an_earlier_evaluation_are_forgotten() -> None:
    truth = made_ground_truth(3)
    evaluator = CocoEvaluator(truth, [3, 7, 90], EvalSpec(), with_masks=True)
    evaluator.process(*jittered(truth, [3, 7, 90], 1))
    first = evaluator.evaluate()
    evaluator.reset()
    evaluator.process(*jittered(truth, [3, 7, 90], 2))
    assert evaluator.evaluate() != first
    evaluator.reset()
    evaluator.process(*jittered(truth, [3, 7, 90], 1))
    assert evaluator.evaluate() == first


def test_the_ground_truth_is_left_as_it_was() -> None:
    truth = made_ground_truth(3)
    before = copy.deepcopy(truth)
    evaluator = CocoEvaluator(truth, [3, 7, 90], EvalSpec(), with_masks=True)
    evaluator.process(*jittered(truth, [3, 7, 90], 1))
    evaluator.evaluate()
    assert truth == before


def test_pictures_without_result_and_foreign_ones_are_refused_together() -> None:
    truth = made_ground_truth(3)
    evaluator = CocoEvaluator(truth, [3, 7, 90], EvalSpec(), with_masks=True)
    evaluator.process(*jittered(truth, [3, 7, 90], 1))
    results = evaluator.results()
    with pytest.raises(DataError) as caught:
        evaluator.evaluate([*results[2:], {**results[0], "image_id": 9999}])
    assert len(caught.value.problems) == 2
    assert "2 of 12 pictures" in caught.value.problems[1]


def test_bad_ground_truth_is_refused_with_all_its_problems() -> None:
    truth = made_ground_truth(3)
    del truth["annotations"][0]["area"]
    truth["annotations"][1]["segmentation"] = []
    with pytest.raises(DataError) as caught:
        CocoEvaluator(truth, [3, 7, 90], EvalSpec(), with_masks=True)
    assert len(caught.value.problems) == 2
    with pytest.raises(DataError, match=r"\[4\]"):
        CocoEvaluator(made_ground_truth(3), [3, 4], EvalSpec(), with_masks=False)


def test_matches_survive_a_file_and_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    truth = made_ground_truth(4)
    evaluator = CocoEvaluator(truth, [3, 7, 90], EvalSpec(), with_masks=True)
    evaluator.process(*jittered(truth, [3, 7, 90], 4))
    evaluator.evaluate()
    matches = evaluator.matches()["mask"]
    matches.save(tmp_path / "a.npz")
    loaded = Matches.load(tmp_path / "a.npz")
    loaded.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    for ours, theirs in zip(precision_and_recall(matches), precision_and_recall(loaded), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("seed", range(3))
def test_a_resample_of_matches_equals_coco_eval_on_the_resampled_pictures(seed: int) -> None:
    labels = [3, 7, 90]
    truth = made_ground_truth(10 + seed, num_images=8)
    batch, detections = jittered(truth, labels, seed)
    rng = np.random.default_rng(seed)
    for found in detections:  # Distinct scores: the order of equal ones inside a picture is arbitrary.
        found.scores = torch.tensor(np.sort(rng.random(len(found.scores)))[::-1].astype(np.float32))
    evaluator = CocoEvaluator(truth, labels, EvalSpec(), with_masks=True)
    evaluator.process(batch, detections)
    evaluator.evaluate()
    matches = evaluator.matches()["mask"]
    drawn = np.sort(rng.integers(0, 8, 8))
    precision, recall = precision_and_recall(matches, image_weights=np.bincount(drawn, minlength=8))

    resampled: dict[str, Any] = {"images": [], "annotations": [], "categories": truth["categories"]}
    results = []
    plain = coco_results(batch, detections, labels, "segm")
    for new_id, old in enumerate(matches.image_ids[drawn].tolist()):
        picture = next(image for image in truth["images"] if image["id"] == old)
        resampled["images"].append({**picture, "id": new_id})
        for annotation in (a for a in truth["annotations"] if a["image_id"] == old):
            number = len(resampled["annotations"]) + 1
            resampled["annotations"].append({**annotation, "image_id": new_id, "id": number})
        results += [{**result, "image_id": new_id} for result in plain if result["image_id"] == old]
    peer = coco_eval(resampled, results, "segm")
    np.testing.assert_array_equal(precision, peer.eval["precision"][..., 2])
    np.testing.assert_array_equal(recall, peer.eval["recall"][..., 2])
