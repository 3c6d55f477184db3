"""Small data that the tests make themselves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from raystudy.spec.data import DataSpec, InputSpec, ShapesSpec
from raystudy.spec.schedule import ScheduleSpec
from raystudy.spec.trial import TrialSpec

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
TINY = ShapesSpec(num_train=24, num_val=7)


def shared(folder: str) -> Path:
    """A folder of real data beside the checkout; skips the test where it is absent."""
    path = SHARED / folder
    if not path.is_dir():
        pytest.skip(f"../shared/data/{folder} is not there")
    return path


def shapes_spec(shapes: ShapesSpec = TINY) -> DataSpec:
    """Shapes as the data of a trial."""
    return DataSpec(
        format="shapes",
        shapes=shapes,
        train_checksum=shapes.checksum("train"),
        val_checksum=shapes.checksum("val"),
        num_categories=6,
    )


def trial(data: DataSpec, **changes: Any) -> TrialSpec:
    """A trial of 2 workers with 2 images each at 128 px."""
    base: dict[str, Any] = {
        "schedule": ScheduleSpec(total=20, drops=()),
        "data": data,
        "input": InputSpec(train_short_sides=(128,), test_short_side=128, max_side=214),
        "workers": 2,
        "images_per_worker": 2,
    }
    return TrialSpec(**(base | changes))


def coco_content(**changes: Any) -> dict[str, Any]:
    """A sound COCO json of two pictures, two categories with a gap between their ids, and three instances."""
    content: dict[str, Any] = {
        "images": [
            {"id": 7, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 9, "file_name": "b.png", "width": 30, "height": 40},
        ],
        "categories": [{"id": 5, "name": "nut"}, {"id": 2, "name": "bolt"}],
        "annotations": [annotation(1, 7, 5, 4, 6, 10, 8), annotation(2, 7, 2, 20, 10, 12, 9), annotation(3, 9, 2)],
    }
    return content | changes


def annotation(
    identity: int, image_id: int = 7, category_id: int = 5, x: float = 5, y: float = 5, w: float = 9, h: float = 7
) -> dict[str, Any]:
    """A rectangle as box and polygon."""
    return {
        "id": identity,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [x, y, w, h],
        "area": w * h,
        "iscrowd": 0,
        "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
    }


def write_coco(folder: Path, content: Any, name: str = "instances_train.json") -> Path:
    """Write a json, and a grey gradient for each of its pictures into ``images``; returns the json's path."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for image in content["images"]:
        pixels = np.add.outer(np.arange(image["height"]), np.arange(image["width"])).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / image["file_name"])
    path = folder / name
    path.write_text(json.dumps(content))
    return path
