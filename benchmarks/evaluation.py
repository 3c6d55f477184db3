"""What evaluation costs: soft masks to COCO results, and COCO results to COCO's numbers, against pycocotools.

    python benchmarks/evaluation.py [--quick]

Rows, each a ratio of process CPU time with both sides in turn in one process, one thread:

``results``     100 masks of 28 x 28 a picture to run lengths, against torchvision's paste and pycocotools' encode;
                every string has to be equal. Masks are smooth blobs, sides of boxes log-uniform from 2% to 60% of the
                picture's.
``evaluation``  boxes and masks of 5,000 pictures x 100 detections, 7.3 objects a picture, 80 categories, against
                COCOeval (index, loadRes, evaluate, accumulate, summarize; once a kind), ours with its ground truth
                read anew. All 24 numbers have to be equal to 1e-12.

Exit status 1 when a ratio lies below what we claim, or a result differs. ``--quick`` shows the same on little data, and
judges equality only.
"""

import argparse
import contextlib
import copy
import functools
import gc
import io
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from simulated_masks import blobs, mask_study, random_boxes
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

from raystudy.evaluation.coco import CocoEvaluator, Result
from raystudy.evaluation.masks import Rle, encode_masks
from raystudy.evaluation.matches import Floats, precision_and_recall
from raystudy.spec.evaluation import EvalSpec

CLAIMS = {"results at 800 x 1333": 10.0, "results at 480 x 640": 4.0, "evaluation": 3.0}
"""Times as fast as the peer, at least."""

Json = dict[str, Any]


def main() -> int:
    """Print a line for every row; 1 when a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="little data: equality is judged, speed only shown")
    parser.add_argument("--row", choices=["results", "evaluation"], help="only these")
    options = parser.parse_args()
    torch.set_num_threads(1)
    held = []
    if options.row in (None, "results"):
        for size in ((800, 1333), (480, 640)):
            held.append(_results_row(size, 3 if options.quick else 8, options.quick))
    if options.row in (None, "evaluation"):
        held.append(_evaluation_row(200 if options.quick else 5000, options.quick))
    return int(not all(held))


def _results_row(size: tuple[int, int], repeats: int, quick: bool) -> bool:
    corners = random_boxes(100, *size, np.random.default_rng(0))
    masks, boxes = blobs(corners, seed=0), torch.tensor(corners, dtype=torch.float32)
    sides: dict[str, Callable[[], list[Rle]]] = {
        "raystudy": lambda: encode_masks(masks, boxes, size),
        "peer": lambda: _pasted(masks, boxes, size),
    }
    is_equal = sides["raystudy"]() == sides["peer"]()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, make in sides.items():
            times[name].append(_seconds(make)[0])
    return _tell(f"results at {size[0]} x {size[1]}", times["raystudy"], times["peer"], is_equal, quick)


def _evaluation_row(num_pictures: int, quick: bool) -> bool:
    truth, results = mask_study(num_pictures)
    labels = [category["id"] for category in truth["categories"]]
    ours_s, ours = _seconds(lambda: _our_numbers(truth, labels, results))
    theirs_s = 0.0
    theirs: list[float] = []
    for kind in ("bbox", "segm"):
        # COCOeval writes into what it is given.
        own, listed = copy.deepcopy(truth), _as_listed(results, labels, kind)
        seconds, numbers = _seconds(functools.partial(_cocoeval_numbers, own, listed, kind))
        theirs_s, theirs = theirs_s + seconds, theirs + numbers
    again_s, again = _seconds(lambda: _our_numbers(truth, labels, results))
    difference = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    print(
        f"{num_pictures} pictures, 24 numbers from {min(theirs):.3f} to {max(theirs):.3f}, differ by {difference:.0e}"
    )
    is_equal = difference <= 1e-12 and again == ours
    return _tell("evaluation", [ours_s, again_s], [theirs_s], is_equal, quick)


def _tell(row: str, ours: list[float], theirs: list[float], is_equal: bool, quick: bool) -> bool:
    ratio = statistics.median(theirs) / statistics.median(ours)
    holds = is_equal and (quick or ratio >= CLAIMS[row])
    print(
        f"{row:22} {ratio:5.1f} times as fast (claim {CLAIMS[row]:g}{', not judged' if quick else ''}): "
        f"{_spread(ours)} against {_spread(theirs)} s CPU; results {'equal' if is_equal else 'DIFFER'}"
        f"{'' if holds else '  FAILED'}",
        flush=True,
    )
    return holds


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g}-{max(values):.3g})"


def _seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    gc.collect()
    before = time.process_time()
    found = work()
    return time.process_time() - before, found


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


if __name__ == "__main__":
    sys.exit(main())
