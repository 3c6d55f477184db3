"""28 x 28 mask targets from polygons, against torchvision's, which crop and resize masks of the picture's size."""

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as mask_api
from torch import Tensor
from torchvision.models.detection.roi_heads import project_masks_on_boxes

from benchmarks.results import ROOT
from benchmarks.row import Outcome, Row
from benchmarks.simulated_masks import HEIGHT, WIDTH, mask_study
from benchmarks.timing import take_turns
from raystudy.data.coco import CocoDataset
from raystudy.data.masks import CompactMasks, Polygons

REAL_PICTURES = ROOT.parent / "shared" / "data" / "coco_permissive"
"""True COCO annotations; simulated ones stand in where they are not there."""

SIZE, POSITIVES = 28, 128
LEAST_IOU = 0.98
"""Of our targets with detectron2's, mean."""

FINER, MOST_BIAS = 8, 0.03
"""Borders are fat when the targets' area is above the outline's, which a finer grid tells, by more than this share."""

Boxes = NDArray[np.float32]
Work = list[tuple[CompactMasks, Tensor, Tensor, Tensor]]
"""Per picture: its outlines, its full masks uint8 [N, H, W], positive boxes [128, 4] and their instances [128]."""


def _targets(quick: bool, short_side: int) -> Outcome:
    work, origin = _pictures(short_side, 2 if quick else 10)

    def ours() -> list[Tensor]:
        return [masks.crop(boxes, instances, SIZE) for masks, _, boxes, instances in work]

    def theirs() -> list[Tensor]:
        return [project_masks_on_boxes(full, boxes, instances, SIZE) for _, full, boxes, instances in work]

    made = torch.cat(ours()).bool()
    reference = torch.cat([torch.stack(_detectron_targets(*one)) for one in work])
    iou = float(_ious(made, reference).mean())
    fine = sum(float(masks.crop(boxes, which, FINER * SIZE).sum()) for masks, _, boxes, which in work) / FINER**2
    fatness = float(made.sum()) / fine
    note = (
        f"{POSITIVES} positives in each of {len(work)} {origin} at {short_side}; IoU with detectron2's rasteriser "
        f"{iou:.4f} (at least {LEAST_IOU}), area {fatness:.3f} of that on a grid {FINER} times finer; "
        "making the full masks is not counted"
    )
    turns = take_turns(ours, theirs, quick=quick)
    return Outcome(*turns, is_right=iou >= LEAST_IOU and abs(fatness - 1) < MOST_BIAS, note=note)


def _pictures(short_side: int, number: int) -> tuple[Work, str]:
    if REAL_PICTURES.exists():
        dataset = CocoDataset.load(REAL_PICTURES / "images", REAL_PICTURES / "instances_val.json")
        found = [dataset.instances(index) for index in range(len(dataset))]
        sizes = list(zip(dataset.heights.tolist(), dataset.widths.tolist(), strict=True))
        known = [(f.masks, f.boxes, size) for f, size in zip(found, sizes, strict=True) if f.masks is not None]
        origin = "COCO pictures"
    else:
        known, origin = _simulated(2 * number), "simulated pictures"
    rng = np.random.default_rng(0)
    work: Work = []
    for masks, boxes, (height, width) in known:
        whole = [n for n, outline in enumerate(masks.outlines) if isinstance(outline, tuple)]  # crowds are no targets
        if whole and len(work) < number:
            kept = np.array(whole)
            scale = min(short_side / min(height, width), short_side * 1333 / 800 / max(height, width))
            sides = (round(height * scale), round(width * scale))
            resized = masks.selected(kept).scaled(sides[1] / width, sides[0] / height)
            work.append(_positives(resized, boxes[kept] * scale, sides, rng))
    return work, origin


def _positives(
    masks: CompactMasks, boxes: Boxes, sides: tuple[int, int], rng: np.random.Generator
) -> tuple[CompactMasks, Tensor, Tensor, Tensor]:
    """Boxes like foreground proposals: an instance's, each edge moved by up to a tenth of its side."""
    instances = rng.integers(0, len(boxes), POSITIVES)
    chosen = boxes[instances]
    moves = rng.uniform(-0.1, 0.1, chosen.shape) * np.tile(chosen[:, 2:] - chosen[:, :2], 2)
    limits = np.array([sides[1], sides[0], sides[1], sides[0]])
    moved = np.clip(chosen + moves, 0, limits).astype(np.float32)
    full = torch.from_numpy(np.ascontiguousarray(masks.window(sides[1], sides[0])))
    return masks, full, torch.from_numpy(moved), torch.from_numpy(instances)


def _simulated(number: int) -> list[tuple[CompactMasks, Boxes, tuple[int, int]]]:
    truth, _ = mask_study(number, num_detections=1)
    found = []
    for image in truth["images"]:
        own = [one for one in truth["annotations"] if one["image_id"] == image["id"]]
        rings: list[Polygons] = [(np.array(one["segmentation"][0], dtype=np.float32).reshape(-1, 2),) for one in own]
        boxes = np.array([one["bbox"] for one in own], dtype=np.float32)
        boxes[:, 2:] += boxes[:, :2]
        found.append((CompactMasks(rings), boxes, (HEIGHT, WIDTH)))
    return found


def _detectron_targets(masks: CompactMasks, full: Tensor, boxes: Tensor, instances: Tensor) -> list[Tensor]:
    """detectron2's rule (structures/masks.py), one RoI at a time: move the polygon to the box, stretch it to the grid,
    rasterise it with COCO's rasteriser, which takes a pixel when its centre is inside."""
    found = []
    for box, instance in zip(boxes.double().numpy(), instances.tolist(), strict=True):
        stretch = SIZE / np.maximum(box[2:] - box[:2], 0.1)
        rings = []
        for ring in masks.outlines[instance]:
            placed = ring.astype(np.float64) * masks.scale + masks.shift
            rings.append(((placed - box[:2]) * stretch).ravel())
        merged = mask_api.merge(mask_api.frPyObjects(rings, SIZE, SIZE))
        found.append(torch.from_numpy(mask_api.decode(merged).astype(bool)))
    return found


def _ious(made: Tensor, reference: Tensor) -> Tensor:
    common, either = (made & reference).sum((1, 2)), (made | reference).sum((1, 2))
    return torch.where(either > 0, common / either.clamp(min=1), 1.0)


def _row(short_side: int, at_least: float, stretch: float) -> Row:
    return Row(
        name=f"mask_targets_{short_side}",
        what=f"28 x 28 mask targets of {POSITIVES} positives at {short_side}",
        against="torchvision's project_masks_on_boxes on full masks",
        measure=functools.partial(_targets, short_side=short_side),
        at_least=at_least,
        stretch=stretch,
    )


ROWS = (_row(800, 20, 36), _row(320, 4, 5.7))
