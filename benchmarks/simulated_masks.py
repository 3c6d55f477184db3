"""Pictures with outlined objects, and a detector's boxes and masks on them: what evaluation is timed on."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raystudy.evaluation.coco import Result
from raystudy.evaluation.masks import encode_masks

HEIGHT, WIDTH = 480, 640
MASK_SIZE = 28
DISTINCT = 100
"""Pictures that are drawn; more are repetitions with other scores."""

Floats = NDArray[np.float64]


def blobs(boxes: Floats, seed: int) -> Tensor:
    """Soft masks [D, 28, 28] in ``boxes`` [D, 4]: ellipses with smooth, uneven outlines."""
    generator = torch.Generator().manual_seed(seed)
    axis = (torch.arange(MASK_SIZE) + 0.5) * (2 / MASK_SIZE) - 1
    radius = axis[:, None] ** 2 + axis[None, :] ** 2
    noise = torch.randn(len(boxes), 1, 7, 7, generator=generator)
    smooth = torch.nn.functional.interpolate(noise, size=(MASK_SIZE, MASK_SIZE), mode="bicubic")[:, 0]
    return (8 * (0.9 - radius + 0.25 * smooth)).sigmoid()


def random_boxes(number: int, height: int, width: int, rng: np.random.Generator) -> Floats:
    """xyxy [number, 4] inside the picture; sides are log-uniform from 2% to 60% of the picture's."""
    sides = np.exp(rng.uniform(np.log(0.02), np.log(0.6), (number, 2))) * [width, height]
    low = rng.uniform(0, 1, (number, 2)) * ([width, height] - sides)
    return np.concatenate([low, low + sides], axis=1)


def mask_study(
    num_pictures: int, num_detections: int = 100, num_categories: int = 80
) -> tuple[dict[str, Any], list[Result]]:
    """A COCO instances file's content with 7.3 objects a picture, and results of every picture."""
    drawn = [_picture(number, num_detections, num_categories) for number in range(min(num_pictures, DISTINCT))]
    rng = np.random.default_rng(0)
    annotations: list[dict[str, Any]] = []
    results: list[Result] = []
    for image_id in range(1, num_pictures + 1):
        objects, detected = drawn[image_id % len(drawn)]
        for one in objects:
            annotations.append({**one, "id": len(annotations) + 1, "image_id": image_id})
        scores = np.clip(detected["scores"] + rng.normal(0, 0.1, num_detections), 0.05, 1.0)
        order = np.argsort(-scores)
        results.append(
            {
                "image_id": image_id,
                "boxes": detected["boxes"][order],
                "scores": scores[order],
                "labels": detected["labels"][order],
                "rles": [detected["rles"][index] for index in order.tolist()],
            }
        )
    images = [{"id": image_id, "height": HEIGHT, "width": WIDTH} for image_id in range(1, num_pictures + 1)]
    categories = [{"id": number, "name": str(number)} for number in range(1, num_categories + 1)]
    return {"images": images, "annotations": annotations, "categories": categories}, results


def _picture(seed: int, num_detections: int, num_categories: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Objects with polygons, and detections: most near an object and mostly of its category, some anywhere."""
    rng = np.random.default_rng((1, seed))
    share = 1 / np.arange(1, num_categories + 1)
    truth = random_boxes(1 + int(rng.poisson(6.3)), HEIGHT, WIDTH, rng)
    categories = rng.choice(num_categories, len(truth), p=share / share.sum()) + 1
    objects = [_object(box, int(category), rng) for box, category in zip(truth, categories, strict=True)]
    near = rng.integers(0, len(truth), num_detections)
    is_near = rng.random(num_detections) < 0.6
    sides = np.tile(truth[near, 2:] - truth[near, :2], 2)
    boxes = truth[near] + rng.normal(0, 0.08, (num_detections, 4)) * sides
    boxes[~is_near] = random_boxes(int((~is_near).sum()), HEIGHT, WIDTH, rng)
    boxes = np.clip(boxes, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT]).astype(np.float32).astype(np.float64)
    keeps_label = is_near & (rng.random(num_detections) < 0.7)
    labels = np.where(keeps_label, categories[near], rng.integers(1, num_categories + 1, num_detections))
    corners = torch.tensor(boxes, dtype=torch.float32)
    detected = {
        "boxes": np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1),
        "scores": rng.beta(2, 3, num_detections) + 0.2 * keeps_label,
        "labels": labels.astype(np.int64),
        "rles": encode_masks(blobs(boxes, seed), corners, (HEIGHT, WIDTH)),
    }
    return objects, detected


def _object(box: Floats, category: int, rng: np.random.Generator) -> dict[str, Any]:
    """An uneven ellipse of 24 corners in ``box``; 1% are crowds."""
    x1, y1, x2, y2 = box.tolist()
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = 1 - 0.15 * rng.random(24)
    x = (x1 + x2) / 2 + (x2 - x1) / 2 * radius * np.cos(angle)
    y = (y1 + y2) / 2 + (y2 - y1) / 2 * radius * np.sin(angle)
    area = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
    return {
        "category_id": category,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": float(area),
        "iscrowd": int(rng.random() < 0.01),
        "segmentation": [np.stack([x, y], axis=1).flatten().tolist()],
    }
