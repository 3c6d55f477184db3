"""A study as it is put together from stock parts: what the row ``study`` is measured against.

Ray's guide for many trials (Tune over TorchTrainer), and in each trial torchvision's detection references:
CocoDetection with masks of the picture's size, DataLoader, torchvision's model and transform, SGD; pycocotools for
every evaluation, and a checkpoint that is saved before training goes on. Every trial trains all of its iterations.
Model, initial weights, budgets, batch, rates, numbers of iterations and of evaluations are those of ours.
"""

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as mask_api
from pycocotools.cocoeval import COCOeval
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import CocoDetection
from torchvision.models.detection import MaskRCNN
from torchvision.transforms.v2 import functional as F

from benchmarks.torchvision_detector import torchvision_twin
from raystudy.data.shapes import render_shapes
from raystudy.spec.trial import TrialSpec
from raystudy.training.state import build_state

Item = tuple[Tensor, dict[str, Tensor]]
Json = dict[str, Any]


class Pictures(Dataset[Item]):
    """torchvision's CocoDetection with the references' conversion and mirroring."""

    def __init__(self, folder: Path, split: str, mirror: bool) -> None:
        self.coco = CocoDetection(str(folder / split), str(folder / f"instances_{split}.json"))
        self._mirror = mirror

    def __len__(self) -> int:
        return len(self.coco)

    def __getitem__(self, index: int) -> Item:
        picture, annotations = self.coco[index]
        width, height = picture.size
        api = self.coco.coco
        boxes = torch.tensor([one["bbox"] for one in annotations], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        masks = [torch.from_numpy(api.annToMask(one)) for one in annotations]
        target = {
            "boxes": boxes,
            "labels": torch.tensor([one["category_id"] for one in annotations], dtype=torch.int64),
            "masks": torch.stack(masks) if masks else torch.zeros(0, height, width, dtype=torch.uint8),
            "image_id": torch.tensor(self.coco.ids[index]),
        }
        image = F.to_dtype(F.pil_to_tensor(picture), torch.float32, scale=True)
        if self._mirror and torch.rand(1) < 0.5:
            image, target["masks"] = image.flip(-1), target["masks"].flip(-1)
            target["boxes"] = boxes[:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1]) + torch.tensor([width, 0, width, 0])
        return image, target


def _together(items: list[Item]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    images, targets = zip(*items, strict=True)
    return list(images), list(targets)


def train_stock(spec: TrialSpec, report: Callable[[dict[str, float], MaskRCNN, torch.optim.SGD], None]) -> float:
    """One trial; CPU seconds of this process that it took.

    Args:
        spec: of the trial.
        report: called after every evaluation with metrics and the state to keep, which it saves.
    """
    began = time.process_time()
    torch.set_num_threads(1)
    torch.manual_seed(spec.seed)
    assert spec.data.shapes is not None
    folder = render_shapes(spec.data.shapes)
    model = torchvision_twin(build_state(spec, None, torch.device("cpu")).model, spec.input.test_short_side, 1333)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
    loader = DataLoader(
        Pictures(folder, "train", True), spec.images_per_worker, shuffle=True, drop_last=True, collate_fn=_together
    )
    validation = Pictures(folder, "val", False)
    for iteration, (images, targets) in enumerate(_endless(loader, spec.schedule.total)):
        for group in optimizer.param_groups:
            group["lr"] = spec.lr_at(iteration)
        total = torch.stack(list(model.train()(images, targets).values())).sum()
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if (iteration + 1) % spec.eval_interval == 0:
            metrics = evaluate_stock(model, validation)
            report({"iteration": iteration + 1, "loss": total.item(), **metrics}, model, optimizer)
    return time.process_time() - began


def _endless(loader: DataLoader[Any], iterations: int) -> Iterator[tuple[list[Tensor], list[dict[str, Tensor]]]]:
    left = iterations
    while left:
        for batch in loader:
            if not left:
                return
            left -= 1
            yield batch


@torch.no_grad()
def evaluate_stock(model: MaskRCNN, pictures: Pictures) -> dict[str, float]:
    """Box and mask AP, as torchvision's references make them: pasted masks, encoded one by one, COCOeval."""
    model.eval()
    listed: list[Json] = []
    for images, targets in DataLoader(pictures, batch_size=1, collate_fn=_together):
        (found,) = model(images)
        masks = (found["masks"] > 0.5).numpy()
        corners = found["boxes"].clone()
        corners[:, 2:] -= corners[:, :2]
        encoded = [mask_api.encode(np.array(mask[0, :, :, None], dtype=np.uint8, order="F"))[0] for mask in masks]
        for box, score, label, rle in zip(
            corners.tolist(), found["scores"].tolist(), found["labels"].tolist(), encoded, strict=True
        ):
            one = {"image_id": int(targets[0]["image_id"]), "category_id": label, "score": score}
            listed.append({**one, "bbox": box, "segmentation": rle})
    if not listed:
        return {"box_ap": 0.0, "mask_ap": 0.0}
    metrics = {}
    for name, kind in (("box_ap", "bbox"), ("mask_ap", "segm")):
        given = [{**one} if kind == "bbox" else {k: v for k, v in one.items() if k != "bbox"} for one in listed]
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(pictures.coco.coco, pictures.coco.coco.loadRes(given), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        metrics[name] = 100 * float(evaluation.stats[0])
    return metrics
