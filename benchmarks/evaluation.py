"""What evaluation costs: soft masks to COCO results, and COCO results to COCO's numbers, against pycocotools."""

import contextlib
import copy
import functools
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

from benchmarks.row import Outcome, Row
from benchmarks.simulated_masks import blobs, mask_study, random_boxes
from benchmarks.timing import seconds_of, take_turns
from raystudy.evaluation.coco import CocoEvaluator, Result
from raystudy.evaluation.masks import Rle, encode_masks
from raystudy.evaluation.matches import Floats, precision_and_recall
from raystudy.spec.evaluation import EvalSpec

TOLERANCE = 1e-12
"""Of each of COCO's numbers, which lie in 0 to 1."""

Json = dict[str, Any]


def _results(quick: bool, size: tuple[int, int]) -> Outcome:
    """100 masks of 28 x 28, smooth blobs in boxes whose sides are log-uniform from 2% to 60% of the picture's."""
    corners = random_boxes(100, *size, np.random.default_rng(0))
    masks, boxes = blobs(corners, seed=0), torch.tensor(corners, dtype=torch.float32)
    is_equal = encode_masks(masks, boxes, size) == _pasted(masks, boxes, size)
    turns = take_turns(lambda: encode_masks(masks, boxes, size), lambda: _pasted(masks, boxes, size), quick=quick)
    return Outcome(*turns, is_right=is_equal, note="100 masks a picture, one picture a round; every RLE string equal")


def _evaluation(quick: bool) -> Outcome:
    """COCOeval's index, loadRes, evaluate, accumulate and summarize, once a kind; ours reads its ground truth anew."""
    num_pictures = 200 if quick else 5000
    truth, results = mask_study(num_pictures)
    labels = [category["id"] for category in truth["categories"]]
    ours: list[list[float]] = []
    theirs: list[float] = []
    ours_s = [seconds_of(lambda: ours.append(_our_numbers(truth, labels, results)))]
    theirs_s = 0.0
    for kind in ("bbox", "segm"):
        # COCOeval writes into what it is given.
        work = functools.partial(_cocoeval_numbers, copy.deepcopy(truth), _as_listed(results, labels, kind), kind)
        theirs_s += seconds_of(functools.partial(_extend, theirs, work))
    ours_s.append(seconds_of(lambda: ours.append(_our_numbers(truth, labels, results))))
    difference = max(abs(a - b) for a, b in zip(ours[0], theirs, strict=True))
    note = (
        f"{num_pictures:,} pictures x 100 detections, 80 categories, boxes and masks; 24 numbers from "
        f"{min(theirs):.3f} to {max(theirs):.3f} differ by {difference:.0e} (at most {TOLERANCE:.0e})"
    )
    return Outcome(ours_s, [theirs_s], is_right=difference <= TOLERANCE and ours[0] == ours[1], note=note)


def _extend(numbers: list[float], work: Callable[[], list[float]]) -> None:
    numbers += work()


def _pasted(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> list[Rle]:
    """As torchvision's detection references do it, picture-sized masks encoded one by one."""
    pasted = paste_masks_in_image(masks[:, None], boxes, size) > 0.5
    return [
        mask_api.encode(np.array(mask[0, :, :, np.newaxis], dtype=np.uint8, order="F"))[0] for mask in pasted.numpy()
    ]


def _our_numbers(truth: Json, labels: list[int], results: list[Result]) -> list[float]:
    evaluator = CocoEvaluator(truth, labels, EvalSpec(), with_masks=True)
    metrics = evaluator.evaluate(results)
    numbers: list[float] = []
    for kind in ("box", "mask"):
        names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
        numbers += [metrics[f"{kind}_{name}"] / 100 for name in names]
        recalls = [precision_and_recall(evaluator.matches()[kind], most)[1] for most in (1, 10, 100)]
        numbers += [_mean(recall[..., 0]) for recall in recalls] + [_mean(recalls[2][..., area]) for area in (1, 2, 3)]
    return numbers


def _mean(values: Floats) -> float:
    return float(values[values > -1].mean())


def _as_listed(results: list[Result], labels: list[int], kind: str) -> list[Json]:
    """The same detections as a results file holds them."""
    return [
        {
            "image_id": result["image_id"],
            "category_id": labels[label - 1],
            "score": score,
            **({"bbox": box} if kind == "bbox" else {"segmentation": rle}),
        }
        for result in results
        for label, score, box, rle in zip(
            result["labels"].tolist(), result["scores"].tolist(), result["boxes"].tolist(), result["rles"], strict=True
        )
    ]


def _cocoeval_numbers(truth: Json, listed: list[Json], kind: str) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(listed), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    numbers: list[float] = evaluation.stats.tolist()
    return numbers


ROWS = (
    Row(
        name="results_800",
        what="detections to COCO results (paste and RLE), 800 x 1333",
        against="torchvision's paste and pycocotools' encode",
        measure=functools.partial(_results, size=(800, 1333)),
        at_least=10,
        stretch=14,
    ),
    Row(
        name="results_480",
        what="detections to COCO results (paste and RLE), 480 x 640",
        against="torchvision's paste and pycocotools' encode",
        measure=functools.partial(_results, size=(480, 640)),
        at_least=4,
        stretch=4.5,
    ),
    Row(
        name="evaluation",
        what="evaluation of 5,000 pictures x 100 detections, boxes and masks",
        against="pycocotools",
        measure=_evaluation,
        at_least=3,
        stretch=5,
    ),
)
