"""Pictures with annotated and detected objects, as a trial's final evaluation keeps them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from raystudy import atomic

CATEGORIES = ["disc", "<star>"]


def instance(label: int, box: list[float], score: float | None = None) -> dict[str, Any]:
    """One object, or a detection when it has a score."""
    x1, y1, x2, y2 = box
    found: dict[str, Any] = {
        "label": label,
        "category": CATEGORIES[label - 1],
        "box": box,
        "outline": [[x1, y1, x2, y1, x2, y2]],
        "keypoints": None,
    }
    return found if score is None else {**found, "score": score}


def write_examples(folder: Path, detections: list[dict[str, Any]], num_pictures: int = 3, side: int = 40) -> None:
    """``num_pictures`` pictures with a disc and a star each, and the same detections in all."""

    def fill(folder: Path) -> None:
        _fill(folder, detections, num_pictures, side)

    atomic.publish_folder(folder, fill)


def _fill(folder: Path, detections: list[dict[str, Any]], num_pictures: int, side: int) -> None:
    pictures = []
    for number in range(num_pictures):
        noise = np.random.default_rng(number).integers(0, 255, (side, side, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.jpg", quality=85)
        objects = [instance(1, [2.0, 2.0, 12.0, 12.0]), instance(2, [20.0, 20.0, 30.0, 30.0])]
        size = {"width": side, "height": side, "original_width": side, "original_height": side}
        record = {"file": f"{number}.jpg", "image_id": 10 + number, "name": f"{number}.png", **size}
        pictures.append({**record, "objects": objects, "detections": detections})
    content = {"version": 1, "categories": CATEGORIES, "pictures": pictures}
    folder.joinpath("examples.json").write_text(json.dumps(content))
