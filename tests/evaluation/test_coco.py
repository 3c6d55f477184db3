"""Our evaluator against pycocotools' COCOeval, on made and on real ground truth."""

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
from pycocotools.cocoeval import COCOeval
from torchvision.models.detection.roi_heads import paste_masks_in_image

from raystudy.data.batch import Batch, Detections, Target
from raystudy.errors import DataError
from raystudy.evaluation.coco import CocoEvaluator
from raystudy.evaluation.matches import Matches, precision_and_recall
from raystudy.spec.evaluation import EvalSpec

REAL_DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


def made_ground_truth(seed: int, num_images: int = 12, size: tuple[int, int] = (220, 260)) -> dict[str, Any]:
    """Sparse category ids, crowds as RLE, polygons with several parts, pictures without objects, unsorted ids."""
    rng = np.random.default_rng(seed)
    height, width = size
    images = [{"id": int(i), "height": height, "width": width} for i in rng.permutation(num_images * 3)[:num_images]]
    annotations: list[dict[str, Any]] = []
    for image in images[1:]:
        for _ in range(rng.integers(1, 9)):
            x, y = rng.uniform(0, width - 12), rng.uniform(0, height - 12)
            w, h = rng.uniform(4, width - x), rng.uniform(4, height - y)
            crowd = bool(rng.random() < 0.15)
            polygon = [x, y, x + w, y, x + w, y + h, x + w / 2, y + h / 2, x, y + h]
            segmentation: Any = [polygon] if rng.random() < 0.5 else [polygon[:6], polygon[4:]]
            if crowd:
                mask = np.zeros((height, width), np.uint8)
                mask[int(y) : int(y + h), int(x) : int(x + w)] = 1
                flat = mask.flatten(order="F")
                edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [0]])))
                counts = np.diff(np.concatenate([[0], edges, [len(flat)]]))
                segmentation = {"size": [height, width], "counts": counts.tolist()}
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": int(rng.choice([3, 7, 90])),
                    "bbox": [x, y, w, h],
                    "area": float(w * h * 0.75),
                    "iscrowd": int(crowd),
                    "segmentation": segmentation,
                }
            )
    categories = [{"id": i, "name": str(i)} for i in (90, 3, 7, 55)]
    return {"images": images, "annotations": annotations, "categories": categories}


def jittered(
    truth: dict[str, Any], labels: list[int], seed: int, noise: float = 0.1, extra: int = 4, scale: float = 1.0
) -> tuple[Batch, list[Detections]]:
    """Detections near the objects and elsewhere, some twice, at ``scale`` of the pictures' size; some scores equal."""
    rng = np.random.default_rng(seed)
    detections, sizes, originals = [], [], []
    for image in truth["images"]:
        height, width = image["height"], image["width"]
        size = (round(height * scale), round(width * scale))
        near = [a for a in truth["annotations"] if a["image_id"] == image["id"]]
        boxes, classes = [], []
        for annotation in [a for a in near if rng.random() < 0.9] + [a for a in near if rng.random() < 0.4]:
            x, y, w, h = annotation["bbox"]
            dx, dy, dw, dh = rng.normal(0, noise, 4)
            boxes.append([x + dx * w, y + dy * h, x + dx * w + w * np.exp(dw), y + dy * h + h * np.exp(dh)])
            classes.append(labels.index(annotation["category_id"]) + 1 if rng.random() < 0.9 else 1)
        for _ in range(extra):
            x, y = rng.uniform(0, width - 5), rng.uniform(0, height - 5)
            boxes.append([x, y, rng.uniform(x + 1, width), rng.uniform(y + 1, height)])
            classes.append(int(rng.integers(1, len(labels) + 1)))
        corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        corners[:, 0::2] = (corners[:, 0::2] * size[1] / width).clamp(0, size[1])
        corners[:, 1::2] = (corners[:, 1::2] * size[0] / height).clamp(0, size[0])
        scores = torch.tensor(rng.integers(1, 60, len(boxes)) / 60, dtype=torch.float32).sort(descending=True).values
        masks = torch.tensor(rng.normal(0.9, 0.3, (len(boxes), 14, 14)).clip(0, 1), dtype=torch.float32)
        detections.append(Detections(corners, scores, torch.tensor(classes, dtype=torch.int64), masks))
        sizes.append(size)
        originals.append((height, width))
    empty = Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    ids = [image["id"] for image in truth["images"]]
    images = torch.zeros(len(ids), 3, 1, 1, dtype=torch.uint8)
    return Batch(images, sizes, [empty] * len(ids), ids, originals), detections


def coco_results(batch: Batch, detections: list[Detections], labels: list[int], kind: str) -> list[dict[str, Any]]:
    """COCO results made the plain way: torchvision's paste of whole pictures, pycocotools' encode."""
    from pycocotools import mask as mask_api

    results = []
    for image_id, size, original, found in zip(
        batch.image_ids, batch.sizes, batch.original_sizes, detections, strict=True
    ):
        ratio = torch.tensor([original[1] / size[1], original[0] / size[0]] * 2)
        boxes = found.boxes * ratio
        assert found.masks is not None
        pasted = paste_masks_in_image(found.masks[:, None], boxes, original)[:, 0] > 0.5
        for box, score, label, mask in zip(boxes.tolist(), found.scores.tolist(), found.labels, pasted, strict=True):
            entry: dict[str, Any] = {"image_id": image_id, "category_id": labels[int(label) - 1], "score": score}
            if kind == "bbox":
                entry["bbox"] = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            else:
                entry["segmentation"] = mask_api.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
            results.append(entry)
    return results


def coco_eval(truth: dict[str, Any], results: list[dict[str, Any]], kind: str, most: int = 100) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(copy.deepcopy(results)), kind)
        evaluation.params.maxDets = [1, 10, most]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def assert_equal_to_coco_eval(
    truth: dict[str, Any], labels: list[int], batch: Batch, detections: list[Detections], most: int = 100
) -> dict[str, float]:
    evaluator = CocoEvaluator(truth, labels, EvalSpec(detections_per_image=most), with_masks=True)
    evaluator.process(batch, detections)
    metrics = evaluator.evaluate()
    for kind, name in (("bbox", "box"), ("segm", "mask")):
        peer = coco_eval(truth, coco_results(batch, detections, labels, kind), kind, most)
        matches = evaluator.matches()[name]
        for index, limit in enumerate([1, 10, most]):
            precision, recall = precision_and_recall(matches, limit)
            np.testing.assert_array_equal(precision, peer.eval["precision"][..., index])
            np.testing.assert_array_equal(recall, peer.eval["recall"][..., index])
        if most == 100:
            expected = [value * 100 if value > -1 else np.nan for value in peer.stats[:6]]
            np.testing.assert_array_equal([metrics[f"{name}_{n}"] for n in NAMES], expected)
    return metrics


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
