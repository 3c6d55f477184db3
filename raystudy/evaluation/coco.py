"""COCO's metrics of boxes and masks: the numbers of pycocotools' COCOeval, without its waiting.

pycocotools does the run-length arithmetic; matching and accumulation are ours and tested equal to COCOeval on every
number. One difference is meant: COCOeval takes an annotation whose id is 0 for "not matched"; here ids do not matter.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from raystudy.data.batch import Batch, Detections
from raystudy.errors import DataError
from raystudy.evaluation.ground_truth import GroundTruth, Kind
from raystudy.evaluation.ious import box_ious, mask_ious
from raystudy.evaluation.masks import areas, encode_masks
from raystudy.evaluation.matches import Floats, Ints, Matches, average_precisions, precision_and_recall
from raystudy.evaluation.matching import Found, match
from raystudy.spec.evaluation import EvalSpec

Result = dict[str, Any]
"""One picture: ``image_id``, ``boxes`` (float64 [D, 4], xywh, pixels of the picture), ``scores`` (float64 [D]),
``labels`` (int64 [D]) and ``rles`` (a list of pycocotools' run-length masks; empty without masks)."""


class CocoEvaluator:
    """Gathers detections picture by picture and scores them at the pictures' original size.

    On several ranks each processes its share of the pictures; rank 0 evaluates the concatenated ``results()``.
    """

    def __init__(
        self, ground_truth: dict[str, Any], label_to_category_id: Sequence[int], spec: EvalSpec, with_masks: bool
    ) -> None:
        """Read the ground truth once; it serves every later evaluation.

        Args:
            ground_truth: the content of a COCO instances file. It is not changed.
            label_to_category_id: the category id of label 1, 2, ….
            spec: how many detections of a category in a picture count.
            with_masks: also score masks.

        Raises:
            DataError: ground truth that cannot be scored, all problems at once.
        """
        self._truth = GroundTruth(ground_truth, with_masks)
        self._category_ids = np.asarray(label_to_category_id, dtype=np.int64)
        unknown = sorted(set(self._category_ids.tolist()) - set(self._truth.category_ids.tolist()))
        if unknown:
            raise DataError(
                f"labels stand for the categories {unknown}, which the ground truth lacks; "
                f"it has {self._truth.category_ids.tolist()}"
            )
        self._spec = spec
        self._kinds: tuple[Kind, ...] = ("box", "mask") if with_masks else ("box",)
        self._results: list[Result] = []
        self._matches: dict[str, Matches] = {}

    @property
    def num_images(self) -> int:
        """Pictures of the ground truth."""
        return len(self._truth.image_ids)

    def reset(self) -> None:
        """Forget all detections."""
        self._results = []
        self._matches = {}

    def process(self, batch: Batch, detections: list[Detections]) -> None:
        """Add the detections of a batch: boxes and masks are brought to the pictures' original size."""
        with_masks = "mask" in self._kinds
        pictures = zip(batch.image_ids, batch.sizes, batch.original_sizes, detections, strict=True)
        for image_id, size, original_size, found in pictures:
            self._results.append(_to_result(image_id, size, original_size, found, with_masks))

    def results(self) -> list[Result]:
        """All detections so far, ready to be sent to another process."""
        return self._results

    def evaluate(self, results: list[Result] | None = None) -> dict[str, float]:
        """AP in percent under the names of ``EvalRow``'s columns; nan where no object is.

        Args:
            results: of all ranks; None takes this evaluator's own. A picture given twice counts once.

        Raises:
            DataError: pictures that the ground truth does not have, or pictures without result.
        """
        chosen = self._one_each(self._results if results is None else results)
        self._matches = {kind: self._match(chosen, kind) for kind in self._kinds}
        metrics: dict[str, float] = {}
        for kind, matches in self._matches.items():
            precision, _ = precision_and_recall(matches)
            metrics |= {f"{kind}_{name}": value for name, value in average_precisions(precision).items()}
        return metrics

    def matches(self) -> dict[str, Matches]:
        """The matches of the last ``evaluate``, by kind: ``box`` and, with masks, ``mask``."""
        if not self._matches:
            raise RuntimeError("matches() needs an evaluate() before it")
        return self._matches

    def _one_each(self, results: list[Result]) -> list[Result]:
        by_id = {result["image_id"]: result for result in reversed(results)}
        known = set(self._truth.image_ids.tolist())
        problems = []
        if foreign := sorted(set(by_id) - known):
            problems.append(f"detections of pictures that the ground truth lacks: image ids {foreign[:5]}")
        if missing := sorted(known - set(by_id)):
            problems.append(
                f"{len(missing)} of {len(known)} pictures were not evaluated, such as image id {missing[0]}; "
                "evaluate every picture on some rank, and gather the results of all ranks"
            )
        if problems:
            raise DataError(problems)
        return [by_id[image_id] for image_id in sorted(by_id)]

    def _match(self, results: list[Result], kind: Kind) -> Matches:
        counts = [len(result["scores"]) for result in results]
        labels = np.concatenate([result["labels"] for result in results]).astype(np.int64)
        boxes = np.concatenate([result["boxes"] for result in results]).reshape(-1, 4)
        rles = [rle for result in results for rle in result["rles"]]
        found = Found(
            category=np.searchsorted(self._truth.category_ids, self._category_ids[labels - 1]),
            image=np.repeat(np.arange(len(results)), counts),
            scores=np.concatenate([result["scores"] for result in results]).astype(np.float64),
            area=boxes[:, 2] * boxes[:, 3] if kind == "box" else areas(rles),
        )
        is_crowd = self._truth.objects.is_crowd

        def ious(detection: Ints, obj: Ints) -> Floats:
            if kind == "box":
                return box_ious(boxes[detection], self._truth.boxes[obj], is_crowd[obj])
            return mask_ious(detection, obj, rles, self._truth.rles, is_crowd)

        truth = self._truth
        return match(found, truth.objects, ious, truth.image_ids, truth.category_ids, self._spec.detections_per_image)


def _to_result(
    image_id: int, size: tuple[int, int], original_size: tuple[int, int], found: Detections, with_masks: bool
) -> Result:
    height_ratio, width_ratio = original_size[0] / size[0], original_size[1] / size[1]
    boxes = found.boxes.detach().cpu() * torch.tensor([width_ratio, height_ratio, width_ratio, height_ratio])
    rles = []
    if with_masks:
        if found.masks is None:
            raise ValueError("masks are to be scored, but the detections have none")
        rles = encode_masks(found.masks, boxes, original_size)
    corners = boxes.numpy().astype(np.float64)
    return {
        "image_id": int(image_id),
        "boxes": np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1),
        "scores": found.scores.detach().cpu().numpy().astype(np.float64),
        "labels": found.labels.detach().cpu().numpy().astype(np.int64),
        "rles": rles,
    }
