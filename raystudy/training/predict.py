"""Detections on any picture with finished weights, drawn on it."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from raystudy.data.batch import collate
from raystudy.data.coco import CocoDataset
from raystudy.data.instances import Instances
from raystudy.data.pictures import picture_size, read_picture, unreadable
from raystudy.data.splits import category_names, keypoint_skeleton, open_split
from raystudy.data.transforms import resizable, test_sample, whole_sample
from raystudy.errors import DataError
from raystudy.evaluation.coco import Result, to_result
from raystudy.evaluation.drawing import Drawn, draw_instances, drawing_size, side_by_side
from raystudy.evaluation.examples import example_indices
from raystudy.evaluation.ground_truth import Kind
from raystudy.exported import ExportedTrial
from raystudy.finished import FinishedTrial
from raystudy.models.detector import Detector
from raystudy.spec.trial import TrialSpec
from raystudy.training.evaluate import checked_device, load_detector
from raystudy.training.export import load_exported
from raystudy.training.loop import autocast

KEYPOINT_LOGIT = 2.0
"""Of a keypoint that is drawn; Detectron's ``kp_thresh`` (utils/vis.py)."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A picture with what was found in it."""

    drawn: Image.Image
    counts: dict[str, int]
    """Category -> detections of it, most first."""


def open_predictor(
    source: FinishedTrial | ExportedTrial, least_score: float, device: str = "cpu", threads: int = 1
) -> "Predictor":
    """The predictor of a trial's final weights, or of exported ones.

    Raises:
        RaystudyError: the weights or the names of the categories cannot be read, or the device is not there.
    """
    place = checked_device(device)
    torch.set_num_threads(threads)
    if isinstance(source, ExportedTrial):
        model = load_exported(source, place)
        return Predictor(model, source.spec, source.categories, least_score, source.skeleton)
    model = load_detector(source.spec, source.checkpoint(), place)
    data = source.spec.data
    return Predictor(model, source.spec, category_names(data), least_score, keypoint_skeleton(data))


class Predictor:
    """Finds and draws what is in pictures, as the trial's evaluation looks at them."""

    def __init__(
        self,
        model: Detector,
        spec: TrialSpec,
        categories: Sequence[str],
        least_score: float,
        skeleton: Sequence[tuple[int, int]] = (),
    ) -> None:
        """Predict with a detector in evaluation mode.

        Args:
            model: of ``spec``.
            spec: its input and evaluation decide how pictures are looked at.
            categories: their names, label 1 first.
            least_score: of a detection that is drawn.
            skeleton: pairs of keypoints that a line joins.
        """
        threshold, flip = min(spec.evaluation.score_threshold, least_score), spec.evaluation.flip
        flip = flip and not model.has_keypoints  # a picture alone does not say which keypoints change sides
        model.evaluation = dataclasses.replace(spec.evaluation, score_threshold=threshold, flip=flip)
        self._model, self._spec, self._categories, self._least_score = model, spec, categories, least_score
        self._skeleton = skeleton
        wanted: tuple[tuple[Kind, bool], ...] = (("mask", model.has_masks), ("keypoint", model.has_keypoints))
        self._kinds: list[Kind] = ["box", *(kind for kind, is_there in wanted if is_there)]

    def file(self, path: Path) -> Prediction:
        """A picture file.

        Raises:
            DataError: it is missing or cannot be decoded.
        """
        return self.picture(read_any(path))

    def picture(self, picture: NDArray[np.uint8]) -> Prediction:
        """A picture, uint8 [H, W, 3] RGB."""
        instances, labels = self._found(picture)
        return Prediction(draw_instances(_enlarged(picture), instances, self._skeleton), self._counts(labels))

    def validation(self, count: int) -> Iterator[tuple[str, Prediction]]:
        """Pictures of the validation set, by name: what is annotated, and beside it what is found.

        They are the same for every trial on the data.

        Raises:
            DataError: the data cannot be read.
        """
        dataset = open_split(self._spec.data, "val")
        for index in example_indices(dataset.instance_counts, count):
            yield dataset.file_name(index), self._beside_truth(dataset, index)

    def _beside_truth(self, dataset: CocoDataset, index: int) -> Prediction:
        picture = dataset.image(index)
        truth = draw_instances(_enlarged(picture), _annotated(dataset, index, dataset.categories), self._skeleton)
        found = self.picture(picture)
        captions = (f"annotated: {dataset.num_instances(index)}", f"found: {sum(found.counts.values())}")
        return Prediction(side_by_side([truth, found.drawn], captions), found.counts)

    @torch.no_grad()
    def _found(self, picture: NDArray[np.uint8]) -> tuple[list[Drawn], list[int]]:
        """Instances to draw, the most certain last, and their labels."""
        nothing = Instances(np.zeros((0, 4), dtype=np.float32), np.zeros(0, dtype=np.int64))
        if self._spec.evaluation.scales:
            sample = whole_sample(resizable(picture), nothing, 0)
        else:
            sample = test_sample(resizable(picture), nothing, self._spec.input, 0)
        device = next(self._model.parameters()).device
        batch = collate([sample], self._spec.input.size_divisor).to(device)
        with autocast(self._spec, device):
            (found,) = self._model.detect(batch)
        shown = drawing_size(picture.shape[0], picture.shape[1])
        result = to_result(0, batch.sizes[0], shown, found, self._kinds)
        kept = [i for i, score in enumerate(result["scores"].tolist()) if score >= self._least_score]
        labels = result["labels"][kept].tolist()
        return [self._drawn(result, i) for i in reversed(kept)], labels

    def _drawn(self, result: Result, i: int) -> Drawn:
        label, score = int(result["labels"][i]), float(result["scores"][i])
        x, y, width, height = result["boxes"][i].tolist()
        points = None
        if "keypoints" in result:
            points = result["keypoints"][i] - np.array([0.0, 0.0, KEYPOINT_LOGIT])
        mask = coco_mask.decode(result["rles"][i]).astype(bool) if result["rles"] else None
        text = f"{self._categories[label - 1]} {score:.2f}"
        return Drawn(label, text, (x, y, x + width, y + height), mask, points)

    def _counts(self, labels: Sequence[int]) -> dict[str, int]:
        return dict(Counter(self._categories[label - 1] for label in labels).most_common())


def read_any(path: Path) -> NDArray[np.uint8]:
    """A picture file of any size, uint8 [H, W, 3] RGB.

    Raises:
        DataError: it is missing or cannot be decoded.
    """
    size = picture_size(path)
    if size is None:
        raise DataError(unreadable(path))
    return read_picture(path, *size)


def _enlarged(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = drawing_size(picture.shape[0], picture.shape[1])
    if (height, width) == picture.shape[:2]:
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC), dtype=np.uint8)


def _annotated(dataset: CocoDataset, index: int, categories: Sequence[str]) -> list[Drawn]:
    old = int(dataset.heights[index]), int(dataset.widths[index])
    height, width = drawing_size(*old)
    found = dataset.instances(index).scaled(width / old[1], height / old[0])
    masks = None if found.masks is None else found.masks.window(width, height).astype(bool)
    drawn = []
    for i, label in enumerate(found.labels.tolist()):
        x1, y1, x2, y2 = found.boxes[i].tolist()
        points = None if found.keypoints is None else found.keypoints[i].astype(np.float64)
        mask = None if masks is None else masks[i]
        drawn.append(Drawn(label, categories[label - 1], (x1, y1, x2, y2), mask, points))
    return drawn
