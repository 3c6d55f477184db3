"""Pictures with objects, and detectors of known quality, in COCO's format: what AP statistics are checked against."""

from typing import Any

import numpy as np

Json = dict[str, Any]
SIDE = 640
"""Of a picture, pixels."""


def ground_truth(num_images: int, num_categories: int, objects_per_image: float = 4.0, seed: int = 0) -> Json:
    """A COCO instances file's content: boxes of log-uniform size, common and rare categories, 2% crowds."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, num_categories + 1)
    annotations: list[Json] = []
    for image in range(num_images):
        for _ in range(rng.poisson(objects_per_image)):
            width, height = np.exp(rng.uniform(np.log(12), np.log(250), 2))
            x, y = rng.uniform(0, SIDE - width), rng.uniform(0, SIDE - height)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image + 1,
                    "category_id": int(rng.choice(num_categories, p=share / share.sum())) + 1,
                    "bbox": [x, y, width, height],
                    "area": width * height,
                    "iscrowd": int(rng.random() < 0.02),
                }
            )
    return {
        "images": [{"id": image + 1, "width": SIDE, "height": SIDE} for image in range(num_images)],
        "categories": [{"id": category + 1, "name": str(category + 1)} for category in range(num_categories)],
        "annotations": annotations,
    }


def detect(truth: Json, skill: float, clutter: float, seed: int) -> list[Json]:
    """A detector's results: finds a share ``skill`` of the objects, and ``clutter`` things a picture that are none.

    Pictures differ in difficulty in the same way for every detector, as they do in life: this is what pairing uses.
    """
    rng = np.random.default_rng(seed)
    difficulty = np.random.default_rng(7).normal(0, 0.5, len(truth["images"]) + 1)
    num_categories = len(truth["categories"])
    found = []
    for annotation in truth["annotations"]:
        margin = np.log(skill / (1 - skill)) - difficulty[annotation["image_id"]]
        if rng.random() < 1 / (1 + np.exp(-margin)):
            x, y, width, height = annotation["bbox"]
            jitter = rng.normal(0, 0.03 + 0.08 * rng.random(), 4) * [width, height, width, height]
            box = [x + jitter[0], y + jitter[1], max(2, width + jitter[2]), max(2, height + jitter[3])]
            found.append(_result(annotation["image_id"], annotation["category_id"], box, rng.beta(4, 2)))
    for image in truth["images"]:
        for _ in range(rng.poisson(clutter)):
            width, height = np.exp(rng.uniform(np.log(12), np.log(250), 2))
            box = [*rng.uniform(0, SIDE - 250, 2), width, height]
            found.append(_result(image["id"], int(rng.integers(1, num_categories + 1)), box, rng.beta(2, 4)))
    return found


def resampled(truth: Json, found: list[Json], weights: list[int]) -> tuple[Json, list[Json]]:
    """Ground truth and results in which each picture stands as often as it is drawn, under new ids."""
    annotations: dict[int, list[Json]] = {}
    results: dict[int, list[Json]] = {}
    for one in truth["annotations"]:
        annotations.setdefault(one["image_id"], []).append(one)
    for one in found:
        results.setdefault(one["image_id"], []).append(one)
    images: list[Json] = []
    new_truth: list[Json] = []
    new_found: list[Json] = []
    for image, weight in zip(truth["images"], weights, strict=True):
        for _ in range(weight):
            new_id = len(images) + 1
            images.append({**image, "id": new_id})
            for one in annotations.get(image["id"], []):
                new_truth.append({**one, "id": len(new_truth) + 1, "image_id": new_id})
            new_found += [{**one, "image_id": new_id} for one in results.get(image["id"], [])]
    return {**truth, "images": images, "annotations": new_truth}, new_found


def _result(image: int, category: int, box: list[float], score: float) -> Json:
    return {"image_id": image, "category_id": category, "bbox": [float(v) for v in box], "score": float(score)}
