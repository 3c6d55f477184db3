"""Made ground truth and detections, and what pycocotools says of them."""

import contextlib
import copy
import io
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.models.detection.roi_heads import paste_masks_in_image

from raystudy.data.batch import Batch, Detections, Target
from raystudy.evaluation.coco import CocoEvaluator
from raystudy.evaluation.matches import precision_and_recall
from raystudy.spec.evaluation import EvalSpec

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
