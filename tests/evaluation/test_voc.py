"""VOC's average precision against the devkit's rule, written out here in its own 1-based inclusive pixels."""

import json
import xml.etree.ElementTree as ElementTree
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raystudy.data.batch import Batch, Detections, Target
from raystudy.evaluation.coco import CocoEvaluator
from raystudy.evaluation.evaluators import build_evaluator
from raystudy.evaluation.voc import VocEvaluator
from raystudy.spec.evaluation import EvalSpec

BCCD = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "bccd_voc"

Box = tuple[int, int, int, int]
"""xmin, ymin, xmax, ymax in VOC's pixels: from 1, inclusive."""
Objects = dict[int, list[tuple[str, Box, bool]]]
"""Category, box and difficulty of each object of a picture."""
Found = list[tuple[int, str, float, Box]]
"""Picture, category, score and box of each detection, in the order of a results file."""


def devkit(objects: Objects, found: Found, category: str) -> tuple[float, float]:
    """AP of 2010 and of 2007 in percent, one detection after the other."""
    num_objects = sum(not hard for image in objects.values() for name, _, hard in image if name == category)
    taken: set[tuple[int, int]] = set()
    hits, misses = 0, 0
    curve: list[tuple[Fraction, Fraction]] = []
    for image, _, _, box in sorted((one for one in found if one[1] == category), key=lambda one: -one[2]):
        best, best_index = Fraction(-1), -1
        for index, (name, other, _) in enumerate(objects[image]):
            width = min(box[2], other[2]) - max(box[0], other[0]) + 1
            height = min(box[3], other[3]) - max(box[1], other[1]) + 1
            if name != category or width <= 0 or height <= 0:
                continue
            sizes = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, other)]
            overlap = Fraction(width * height, sum(sizes) - width * height)
            if overlap > best:
                best, best_index = overlap, index
        if best < Fraction(1, 2):
            misses += 1
        elif not objects[image][best_index][2]:
            hits, misses = hits + ((image, best_index) not in taken), misses + ((image, best_index) in taken)
            taken.add((image, best_index))
        if hits + misses:
            curve.append((Fraction(hits, num_objects), Fraction(hits, hits + misses)))
    recalls = [Fraction(0), *(recall for recall, _ in curve), Fraction(1)]
    precisions = [Fraction(0), *(precision for _, precision in curve), Fraction(0)]
    for index in reversed(range(len(precisions) - 1)):
        precisions[index] = max(precisions[index], precisions[index + 1])
    area = sum((recalls[i] - recalls[i - 1]) * precisions[i] for i in range(1, len(recalls)))
    levels = [max((p for r, p in curve if r >= Fraction(k, 10)), default=Fraction(0)) for k in range(11)]
    return float(100 * area), float(100 * sum(levels) / 11)


def coco_content(objects: Objects, names: list[str], size: int) -> dict[str, Any]:
    """As our reader makes it of VOC: continuous coordinates from 0, ``difficult`` as ``ignore``."""
    annotations: list[dict[str, Any]] = []
    for image, mine in objects.items():
        for name, (x1, y1, x2, y2), hard in mine:
            box = [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1]
            one = {"id": len(annotations) + 1, "image_id": image, "category_id": names.index(name) + 1, "bbox": box}
            annotations.append({**one, "area": box[2] * box[3], "iscrowd": 0, "ignore": int(hard), "segmentation": []})
    return {
        "images": [{"id": image, "height": size, "width": size} for image in objects],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, 1)],
    }


def evaluated(content: dict[str, Any], names: list[str], found: Found, size: int) -> VocEvaluator:
    """The evaluator after it has seen the detections at half their size, as a network may."""
    evaluator = build_evaluator("voc", content, range(1, len(names) + 1), EvalSpec(), with_masks=False)
    assert isinstance(evaluator, VocEvaluator)
    empty = Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    for image in (picture["id"] for picture in content["images"]):
        mine = [one for one in found if one[0] == image]
        boxes = torch.tensor([[b[0] - 1, b[1] - 1, b[2], b[3]] for *_, b in mine], dtype=torch.float32).reshape(-1, 4)
        scores = torch.tensor([score for _, _, score, _ in mine], dtype=torch.float32)
        labels = torch.tensor([names.index(name) + 1 for _, name, _, _ in mine], dtype=torch.int64)
        pixels = torch.zeros(1, 3, 1, 1, dtype=torch.uint8)
        batch = Batch(pixels, [(size // 2, size // 2)], [empty], [image], [(size, size)])
        evaluator.process(batch, [Detections(boxes / 2, scores, labels)])
    return evaluator


def assert_equal_to_devkit(objects: Objects, names: list[str], found: Found, size: int) -> dict[str, float]:
    evaluator = evaluated(coco_content(objects, names, size), names, found, size)
    metrics = evaluator.evaluate()
    expected = {}
    for number, name in enumerate(names, 1):
        ours = evaluator.category_precisions()[number]
        assert ours.num_objects == sum(n == name and not hard for image in objects.values() for n, _, hard in image)
        if ours.num_objects == 0:
            assert np.isnan(ours.area)
            assert np.isnan(ours.eleven_points)
            continue
        expected[name] = devkit(objects, found, name)
        assert (ours.area, ours.eleven_points) == pytest.approx(expected[name], abs=1e-10)
    assert metrics["voc_ap"] == pytest.approx(np.mean([area for area, _ in expected.values()]), abs=1e-10)
    assert metrics["voc07_ap"] == pytest.approx(np.mean([points for _, points in expected.values()]), abs=1e-10)
    return metrics


def random_box(rng: np.random.Generator, size: int) -> Box:
    x1, y1 = (int(value) for value in rng.integers(1, size - 4, 2))
    return x1, y1, int(rng.integers(x1, size + 1)), int(rng.integers(y1, size + 1))


def made(seed: int, names: list[str], size: int = 40) -> tuple[Objects, Found]:
    """Overlapping and difficult objects; detections near them and anywhere, duplicates, few distinct scores."""
    rng = np.random.default_rng(seed)
    objects: Objects = {int(image): [] for image in rng.permutation(30)[:12]}
    for mine in list(objects.values())[1:]:
        for _ in range(rng.integers(0, 6)):
            mine.append((names[rng.integers(len(names) - 1)], random_box(rng, size), bool(rng.random() < 0.25)))
    found: Found = []
    for image, mine in sorted(objects.items()):
        for name, box, _ in mine:
            for _ in range(rng.integers(0, 4)):
                low, high = np.array(box[:2]), np.array(box[2:])
                shift = rng.integers(-3, 4, 4)
                low, high = np.clip(low + shift[:2], 1, size), np.clip(high + shift[2:], 1, size)
                high = np.maximum(low, high)
                near = (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
                found.append((image, name, float(rng.integers(1, 9) / 8), near))
        for _ in range(rng.integers(0, 4)):
            found.append((image, names[rng.integers(len(names))], float(rng.integers(1, 7) / 8), random_box(rng, size)))
    return objects, found


@pytest.mark.parametrize("seed", range(12))
def test_every_category_equals_the_devkits_rule_on_made_pictures(seed: int) -> None:
    # The last category has detections, but no object.
    names = ["cat", "dog", "sofa"]
    objects, found = made(seed, names)
    metrics = assert_equal_to_devkit(objects, names, found, 40)
    assert 0 < metrics["voc_ap"] < 100


def test_real_boxes_equal_the_devkits_rule() -> None:
    if not BCCD.exists():
        pytest.skip("bccd_voc is not there")
    content = json.loads((BCCD / "instances_val.json").read_text())
    names = [category["name"] for category in content["categories"]]
    objects: Objects = {}
    for image in content["images"][:40]:
        path = BCCD / "VOCdevkit" / "BCCD" / "Annotations" / Path(image["file_name"]).with_suffix(".xml").name
        objects[image["id"]] = [_parse(element) for element in ElementTree.parse(path).iter("object")]
    rng = np.random.default_rng(0)
    found: Found = []
    for image_id, mine in objects.items():
        for name, (x1, y1, x2, y2), _ in mine + mine[: len(mine) // 3]:
            noise = rng.normal(0, 0.15, 4) * [x2 - x1, y2 - y1, x2 - x1, y2 - y1]
            dx1, dy1, dx2, dy2 = noise.astype(int).tolist()
            found.append((image_id, name, float(rng.random()), (x1 + dx1, y1 + dy1, x2 + dx2, y2 + dy2)))
    metrics = assert_equal_to_devkit(objects, names, found, 640)
    assert 20 < metrics["voc_ap"] < 95


def _parse(element: ElementTree.Element) -> tuple[str, Box, bool]:
    x1, y1, x2, y2 = (int(element.findtext(f"bndbox/{side}") or 0) for side in ("xmin", "ymin", "xmax", "ymax"))
    return element.findtext("name") or "", (x1, y1, x2, y2), element.findtext("difficult") == "1"


def test_an_overlap_of_exactly_a_half_is_a_hit_and_its_second_taker_a_miss() -> None:
    objects: Objects = {1: [("cat", (1, 1, 10, 10), False)]}
    half: Box = (1, 1, 10, 5)
    one = evaluated(coco_content(objects, ["cat"], 20), ["cat"], [(1, "cat", 0.9, half)], 20)
    assert one.evaluate()["voc_ap"] == 100
    # Less than a half by one row of pixels.
    less = evaluated(coco_content(objects, ["cat"], 20), ["cat"], [(1, "cat", 0.9, (1, 1, 10, 4))], 20)
    assert less.evaluate()["voc_ap"] == 0
    # The better one comes later: it is a duplicate, wrong, but behind the hit, so that the area stays whole.
    twice: Found = [(1, "cat", 0.9, half), (1, "cat", 0.8, (1, 1, 10, 10))]
    objects[1].append(("cat", (15, 15, 18, 18), False))
    both = evaluated(coco_content(objects, ["cat"], 20), ["cat"], [*twice, (1, "cat", 0.7, (15, 15, 18, 18))], 20)
    assert both.evaluate()["voc_ap"] == pytest.approx(100 * (1 + 2 / 3) / 2)


def test_detections_of_difficult_objects_count_neither_way() -> None:
    objects: Objects = {1: [("cat", (1, 1, 10, 10), True), ("cat", (12, 12, 19, 19), False)]}
    found: Found = [(1, "cat", 0.9, (1, 1, 10, 10)), (1, "cat", 0.8, (1, 1, 10, 10)), (1, "cat", 0.7, (12, 12, 19, 19))]
    evaluator = evaluated(coco_content(objects, ["cat"], 20), ["cat"], found, 20)
    assert evaluator.evaluate()["voc_ap"] == 100
    assert evaluator.category_precisions()[1].eleven_points == pytest.approx(100)
    assert evaluator.category_precisions()[1].num_objects == 1


def test_recall_of_three_tenths_reaches_the_level_of_three_tenths() -> None:
    # 3 * 0.1 is more than 3 / 10 in floating point.
    boxes = [(10 * k + 1, 1, 10 * k + 8, 8) for k in range(10)]
    objects: Objects = {1: [("cat", box, False) for box in boxes]}
    found: Found = [(1, "cat", 1 - k / 10, boxes[k]) for k in range(3)]
    evaluator = evaluated(coco_content(objects, ["cat"], 100), ["cat"], found, 100)
    evaluator.evaluate()
    assert evaluator.category_precisions()[1].eleven_points == pytest.approx(100 * 4 / 11)


def test_it_reports_cocos_metrics_too_and_other_formats_do_not_report_voc() -> None:
    names = ["cat", "dog"]
    objects, found = made(3, ["cat", "dog"])
    content = coco_content(objects, names, 40)
    evaluator = evaluated(content, names, found, 40)
    plain = build_evaluator("coco", content, [1, 2], EvalSpec(), with_masks=False)
    assert type(plain) is CocoEvaluator
    metrics = evaluator.evaluate()
    expected = {name: value for name, value in metrics.items() if not name.startswith("voc")}
    assert plain.evaluate(evaluator.results()) == pytest.approx(expected, abs=0, nan_ok=True)
    assert evaluator.matches().keys() == {"box"}


def test_without_detections_the_ap_is_0_and_without_objects_nan() -> None:
    objects: Objects = {1: [("cat", (1, 1, 10, 10), False)], 2: []}
    assert evaluated(coco_content(objects, ["cat"], 20), ["cat"], [], 20).evaluate()["voc_ap"] == 0
    none: Objects = {1: []}
    found: Found = [(1, "cat", 0.5, (1, 1, 5, 5))]
    assert np.isnan(evaluated(coco_content(none, ["cat"], 20), ["cat"], found, 20).evaluate()["voc_ap"])
