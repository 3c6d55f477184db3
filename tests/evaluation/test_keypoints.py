"""Keypoint AP against pycocotools' COCOeval, on made and on real people."""

import contextlib
import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params

from raystudy.data.batch import Batch, Detections, Target
from raystudy.errors import DataError
from raystudy.evaluation.coco import CocoEvaluator
from raystudy.evaluation.keypoints import MAX_DETECTIONS, extents, sigmas_for
from raystudy.evaluation.matches import precision_and_recall
from raystudy.spec.evaluation import EvalSpec

REAL_DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
SCORED_AREAS = [0, 2, 3]
"""COCOeval scores keypoints of all, medium and large objects; ours have small ones too."""


def made_people(seed: int, num_images: int = 10, num_keypoints: int = 17) -> dict[str, Any]:
    """Several people a picture: some without labelled keypoints, some crowds, one picture without anybody."""
    rng = np.random.default_rng(seed)
    images = [
        {"id": int(i), "height": 300, "width": 400} for i in rng.permutation(3 * num_images)[:num_images].tolist()
    ]
    annotations: list[dict[str, Any]] = []
    for image in images[1:]:
        for _ in range(rng.integers(1, 6)):
            x, y = rng.uniform(0, 300), rng.uniform(0, 200)
            width, height = rng.uniform(15, 100), rng.uniform(15, 100)
            points = np.zeros((num_keypoints, 3))
            points[:, 0], points[:, 1] = x + width * rng.random(num_keypoints), y + height * rng.random(num_keypoints)
            points[:, 2] = rng.choice([0, 1, 2], num_keypoints) * (rng.random() < 0.8)
            points[points[:, 2] == 0] = 0
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": 1,
                    "bbox": [x, y, width, height],
                    "area": 0.6 * width * height,
                    "iscrowd": int(rng.random() < 0.1),
                    "keypoints": points.round(2).flatten().tolist(),
                    "num_keypoints": int((points[:, 2] > 0).sum()),
                }
            )
    people = {"id": 1, "name": "person", "keypoints": [f"point_{k}" for k in range(num_keypoints)]}
    return {"images": images, "annotations": annotations, "categories": [people]}


def detected(
    truth: dict[str, Any], seed: int, noise: float, extra: int = 3, twice: float = 0.5
) -> tuple[Batch, list[Detections]]:
    """People near the annotated ones, some twice, and people anywhere; scores on a coarse grid, so that some tie."""
    rng = np.random.default_rng(seed)
    detections, sizes, originals = [], [], []
    number = len(truth["annotations"][0]["keypoints"]) // 3
    for image in truth["images"]:
        mine = [a for a in truth["annotations"] if a["image_id"] == image["id"]]
        people = []
        for annotation in mine + [a for a in mine if rng.random() < twice]:
            points = np.array(annotation["keypoints"], dtype=np.float64).reshape(-1, 3)
            x, y, width, height = annotation["bbox"]
            guess = np.stack([x + width * rng.random(number), y + height * rng.random(number)], axis=1)
            near = np.where(points[:, 2:] > 0, points[:, :2], guess)
            people.append(near + rng.normal(0, noise * np.sqrt(annotation["area"]), near.shape))
        people += [rng.uniform([0, 0], [image["width"], image["height"]], (number, 2)) for _ in range(extra)]
        xy = torch.tensor(np.array(people).reshape(-1, number, 2), dtype=torch.float32)
        keypoints = torch.cat([xy * 1.5, torch.ones_like(xy[..., :1])], dim=2)
        boxes = torch.cat([xy.amin(1), xy.amax(1)], dim=1) * 1.5
        scores = torch.tensor(np.sort(rng.integers(1, 30, len(people)) / 30)[::-1].astype(np.float32))
        detections.append(Detections(boxes, scores, torch.ones(len(people), dtype=torch.int64), keypoints=keypoints))
        sizes.append((round(image["height"] * 1.5), round(image["width"] * 1.5)))
        originals.append((image["height"], image["width"]))
    empty = Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    ids = [image["id"] for image in truth["images"]]
    return Batch(
        torch.zeros(len(ids), 3, 1, 1, dtype=torch.uint8), sizes, [empty] * len(ids), ids, originals
    ), detections


def coco_eval(truth: dict[str, Any], batch: Batch, detections: list[Detections]) -> COCOeval:
    """pycocotools on results as a file would hold them."""
    results = []
    for image_id, size, original, found in zip(
        batch.image_ids, batch.sizes, batch.original_sizes, detections, strict=True
    ):
        assert found.keypoints is not None
        scale = torch.tensor([original[1] / size[1], original[0] / size[0], 1.0])
        for score, points in zip(found.scores.tolist(), (found.keypoints * scale).tolist(), strict=True):
            flat = [value for point in points for value in point]
            results.append({"image_id": image_id, "category_id": 1, "score": score, "keypoints": flat})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def assert_equal_to_coco_eval(truth: dict[str, Any], batch: Batch, detections: list[Detections]) -> dict[str, float]:
    evaluator = CocoEvaluator(truth, [1], EvalSpec(), with_masks=False, with_keypoints=True)
    evaluator.process(batch, detections)
    metrics = evaluator.evaluate()
    peer = coco_eval(truth, batch, detections)
    precision, recall = precision_and_recall(evaluator.matches()["keypoint"])
    np.testing.assert_array_equal(precision[..., SCORED_AREAS], peer.eval["precision"][..., 0])
    np.testing.assert_array_equal(recall[..., SCORED_AREAS], peer.eval["recall"][..., 0])
    expected = [value * 100 if value > -1 else np.nan for value in peer.stats[:3]]
    ours = [metrics[name] for name in ("keypoint_ap", "keypoint_ap50", "keypoint_ap75")]
    np.testing.assert_array_equal(ours, expected)
    return metrics


@pytest.mark.parametrize("seed", range(5))
def test_every_number_equals_coco_eval_on_made_people(seed: int) -> None:
    truth = made_people(seed)
    metrics = assert_equal_to_coco_eval(truth, *detected(truth, seed, 0.06))
    assert 5 < metrics["keypoint_ap"] < 95
    assert set(metrics) >= {"box_ap", "keypoint_ap", "keypoint_ap50", "keypoint_ap75"}


def test_no_more_than_20_detections_of_a_picture_count() -> None:
    truth = made_people(7)
    batch, detections = detected(truth, 7, 0.05, extra=2 * MAX_DETECTIONS)
    for found in detections:  # the annotated people come last
        assert found.keypoints is not None
        found.keypoints = found.keypoints.flip(0)
    assert assert_equal_to_coco_eval(truth, batch, detections)["keypoint_ap"] < 5


@pytest.mark.parametrize("split", ["train", "val"])
def test_every_number_equals_coco_eval_on_real_people(split: str) -> None:
    path = REAL_DATA / "coco_person1" / f"person_keypoints_{split}.json"
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    truth = json.loads(path.read_text())
    metrics = assert_equal_to_coco_eval(truth, *detected(truth, 0, 0.05))
    assert 20 < metrics["keypoint_ap"] < 95


def test_true_keypoints_have_an_ap_of_100() -> None:
    truth = made_people(3)
    truth["annotations"] = [a for a in truth["annotations"] if not a["iscrowd"]]
    assert assert_equal_to_coco_eval(truth, *detected(truth, 3, 0.0, extra=0, twice=0))["keypoint_ap"] == pytest.approx(
        100
    )


def test_cocos_spreads_are_pycocotools_and_others_can_be_given() -> None:
    np.testing.assert_array_equal(sigmas_for(17, ()), Params("keypoints").kpt_oks_sigmas)
    truth = made_people(1, num_keypoints=5)
    with pytest.raises(DataError, match="5 keypoints"):
        CocoEvaluator(truth, [1], EvalSpec(), with_masks=False, with_keypoints=True)
    found = detected(truth, 1, 0.05)
    scores = []
    for sigma in (0.02, 0.2):
        spec = EvalSpec(keypoint_sigmas=(sigma,) * 5)
        evaluator = CocoEvaluator(truth, [1], spec, with_masks=False, with_keypoints=True)
        evaluator.process(*found)
        scores.append(evaluator.evaluate()["keypoint_ap"])
    assert scores[0] < scores[1]


def test_annotations_without_keypoints_are_refused_with_all_problems() -> None:
    truth = made_people(1)
    del truth["annotations"][0]["keypoints"]
    truth["annotations"][1]["keypoints"] = truth["annotations"][1]["keypoints"][:9]
    with pytest.raises(DataError) as caught:
        CocoEvaluator(truth, [1], EvalSpec(), with_masks=False, with_keypoints=True)
    assert len(caught.value.problems) == 2


def test_without_anybody_the_ap_is_nan() -> None:
    truth = made_people(1)
    batch, detections = detected(truth, 1, 0.05)
    truth["annotations"] = []
    evaluator = CocoEvaluator(truth, [1], EvalSpec(), with_masks=False, with_keypoints=True)
    evaluator.process(batch, detections)
    assert np.isnan(evaluator.evaluate()["keypoint_ap"])


def test_the_extent_of_no_detection_is_nothing() -> None:
    assert extents(np.zeros((0, 17, 3))).shape == (0,)
