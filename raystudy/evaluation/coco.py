"""COCO's metrics of boxes, masks and keypoints: the numbers of pycocotools' COCOeval, without its waiting.

pycocotools does the run-length arithmetic; matching and accumulation are ours and tested equal to COCOeval on every
number. One difference is meant: COCOeval takes an annotation whose id is 0 for "not matched"; here ids do not matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from raystudy.data.batch import Batch, Detections
from raystudy.errors import DataError
from raystudy.evaluation.ground_truth import GroundTruth, Kind
from raystudy.evaluation.ious import box_ious, mask_ious
from raystudy.evaluation.keypoints import MAX_DETECTIONS, extents, sigmas_for, similarities
from raystudy.evaluation.masks import Rle, areas, encode_masks
from raystudy.evaluation.matches import Floats, Ints, Matches, average_precisions, precision_and_recall
from raystudy.evaluation.matching import Found, match
from raystudy.spec.evaluation import EvalSpec

Result = dict[str, Any]
"""One picture: ``image_id``, ``boxes`` (float64 [D, 4], xywh, pixels of the picture), ``scores`` (float64 [D]),
``labels`` (int64 [D]), ``rles`` (a list of pycocotools' run-length masks; empty without masks) and, when they are
scored, ``keypoints`` (float64 [D, K, 3])."""


@dataclass(slots=True, kw_only=True)
class Gathered:
    """Detections of all pictures, by picture, in the detector's order."""

    category: Ints
    """[D], index of the category."""

    image: Ints
    """[D], index of the picture."""

    scores: Floats
    boxes: Floats
    """[D, 4], xywh."""

    rles: list[Rle]
    keypoints: Floats
    """[D, K, 3]; [0, 0, 3] when they are not scored."""


class CocoEvaluator:
    """Gathers detections picture by picture and scores them at the pictures' original size.

    On several ranks each processes its share of the pictures; rank 0 evaluates the concatenated ``results()``.
    """

    def __init__(
        self,
        ground_truth: dict[str, Any],
        label_to_category_id: Sequence[int],
        spec: EvalSpec,
        with_masks: bool,
        with_keypoints: bool = False,
    ) -> None:
        """Read the ground truth once; it serves every later evaluation.

        Args:
            ground_truth: the content of a COCO instances or person_keypoints file. It is not changed.
            label_to_category_id: the category id of label 1, 2, ….
            spec: how many detections of a category in a picture count, and the spread of keypoints.
            with_masks: also score masks.
            with_keypoints: also score keypoints.

        Raises:
            DataError: ground truth that cannot be scored, all problems at once.
        """
        self.truth = GroundTruth(ground_truth, with_masks, with_keypoints)
        self._category_ids = np.asarray(label_to_category_id, dtype=np.int64)
        unknown = sorted(set(self._category_ids.tolist()) - set(self.truth.category_ids.tolist()))
        if unknown:
            raise DataError(
                f"labels stand for the categories {unknown}, which the ground truth lacks; "
                f"it has {self.truth.category_ids.tolist()}"
            )
        self._spec = spec
        chosen: tuple[tuple[Kind, bool], ...] = (("box", True), ("mask", with_masks), ("keypoint", with_keypoints))
        self._kinds: tuple[Kind, ...] = tuple(kind for kind, is_scored in chosen if is_scored)
        if with_keypoints:
            self._sigmas = sigmas_for(self.truth.keypoints.shape[1], spec.keypoint_sigmas)
        self._results: list[Result] = []
        self._matches: dict[str, Matches] = {}

    @property
    def num_images(self) -> int:
        """Pictures of the ground truth."""
        return len(self.truth.image_ids)

    def reset(self) -> None:
        """Forget all detections."""
        self._results = []
        self._matches = {}

    def process(self, batch: Batch, detections: list[Detections]) -> None:
        """Add the detections of a batch, brought to the pictures' original size."""
        pictures = zip(batch.image_ids, batch.sizes, batch.original_sizes, detections, strict=True)
        for image_id, size, original_size, found in pictures:
            self._results.append(to_result(image_id, size, original_size, found, self._kinds))

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
        chosen = self.one_each(results)
        gathered = self.gather(chosen)
        self._matches = {kind: self._match(gathered, kind) for kind in self._kinds}
        metrics: dict[str, float] = {}
        for kind, matches in self._matches.items():
            precision, _ = precision_and_recall(matches)
            values = average_precisions(precision)
            metrics |= {f"{kind}_{name}": values[name] for name in NAMES[kind]}
        return metrics

    def matches(self) -> dict[str, Matches]:
        """The matches of the last ``evaluate``, by kind: ``box``, ``mask`` and ``keypoint``, those that are scored."""
        if not self._matches:
            raise RuntimeError("matches() needs an evaluate() before it")
        return self._matches

    def one_each(self, results: list[Result] | None = None) -> list[Result]:
        """One result for every picture, by rising image id; None takes this evaluator's own.

        Raises:
            DataError: as ``evaluate`` does.
        """
        by_id = {result["image_id"]: result for result in reversed(self._results if results is None else results)}
        known = set(self.truth.image_ids.tolist())
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

    def gather(self, results: list[Result]) -> Gathered:
        """The detections of ``one_each``'s results as arrays."""
        labels = np.concatenate([result["labels"] for result in results]).astype(np.int64)
        keypoints = np.zeros((0, 0, 3))
        if "keypoint" in self._kinds:
            keypoints = np.concatenate([result["keypoints"] for result in results])
        return Gathered(
            category=np.searchsorted(self.truth.category_ids, self._category_ids[labels - 1]),
            image=np.repeat(np.arange(len(results)), [len(result["scores"]) for result in results]),
            scores=np.concatenate([result["scores"] for result in results]).astype(np.float64),
            boxes=np.concatenate([result["boxes"] for result in results]).reshape(-1, 4),
            rles=[rle for result in results for rle in result["rles"]],
            keypoints=keypoints,
        )

    def _match(self, gathered: Gathered, kind: Kind) -> Matches:
        truth = self.truth
        objects = truth.person_objects if kind == "keypoint" else truth.objects
        found = Found(
            category=gathered.category,
            image=gathered.image,
            scores=gathered.scores,
            area=_areas(gathered, kind),
        )

        def ious(detection: Ints, obj: Ints) -> Floats:
            if kind == "box":
                return box_ious(gathered.boxes[detection], truth.boxes[obj], objects.is_crowd[obj])
            if kind == "mask":
                return mask_ious(detection, obj, gathered.rles, truth.rles, objects.is_crowd)
            detected, annotated = gathered.keypoints[detection], truth.keypoints[obj]
            return similarities(detected, annotated, truth.boxes[obj], objects.area[obj], self._sigmas)

        most = MAX_DETECTIONS if kind == "keypoint" else self._spec.detections_per_image
        return match(found, objects, ious, truth.image_ids, truth.category_ids, most)


NAMES: dict[str, tuple[str, ...]] = {
    "box": ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    "mask": ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    "keypoint": ("ap", "ap50", "ap75"),
}
"""The averages of each kind that rows have columns for."""


def _areas(gathered: Gathered, kind: Kind) -> Floats:
    if kind == "box":
        box_areas: Floats = gathered.boxes[:, 2] * gathered.boxes[:, 3]
        return box_areas
    return areas(gathered.rles) if kind == "mask" else extents(gathered.keypoints)


def to_result(
    image_id: int,
    size: tuple[int, int],
    original_size: tuple[int, int],
    found: Detections,
    kinds: Sequence[Kind],
) -> Result:
    """The detections of one picture, brought to the size at which they are scored or shown.

    Args:
        image_id: of the picture.
        size: height and width of the picture that the detector saw.
        original_size: height and width that the result is for.
        found: by the detector.
        kinds: what the result shall have.
    """
    height_ratio, width_ratio = original_size[0] / size[0], original_size[1] / size[1]
    boxes = found.boxes.detach().cpu() * torch.tensor([width_ratio, height_ratio, width_ratio, height_ratio])
    corners = boxes.numpy().astype(np.float64)
    result: Result = {
        "image_id": int(image_id),
        "boxes": np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1),
        "scores": found.scores.detach().cpu().numpy().astype(np.float64),
        "labels": found.labels.detach().cpu().numpy().astype(np.int64),
        "rles": [],
    }
    if "mask" in kinds:
        if found.masks is None:
            raise ValueError("masks are to be scored, but the detections have none")
        result["rles"] = encode_masks(found.masks, boxes, original_size)
    if "keypoint" in kinds:
        if found.keypoints is None:
            raise ValueError("keypoints are to be scored, but the detections have none")
        scaled = found.keypoints.detach().cpu() * torch.tensor([width_ratio, height_ratio, 1.0])
        result["keypoints"] = scaled.numpy().astype(np.float64)
    return result
