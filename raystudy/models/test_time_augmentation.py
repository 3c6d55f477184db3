"""Detection on several sizes of a picture and their mirror images, merged (Detectron's ``BBOX_AUG``, ``MASK_AUG``).

Boxes of all views, mapped back, enter one suppression (Detectron's UNION); "vote" then moves each box that is left to
the mean of those it overlaps, weighted by score (Gidaris and Komodakis 2015). Masks of the boxes that are left are
made on every view and averaged as probabilities at the mask's resolution (SOFT_AVG), heat maps of keypoints likewise.

Each view is made from the pictures as they are given, in one resize: give them as they lie on disk when there are
scales, so that no picture is resized twice (``EvalLoader`` with ``whole``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from raystudy.data.batch import Batch, Detections
from raystudy.data.transforms import fitted_size, resized_picture
from raystudy.errors import SpecError
from raystudy.models.box_head import Candidates, best_detections
from raystudy.models.boxes import padded_boxes, pairwise_iou
from raystudy.models.keypoint_head import place_keypoints
from raystudy.spec.evaluation import EvalSpec

DIVISOR = 32
"""Sides of a view's batch are padded to multiples of the coarsest stride."""


class Detecting(Protocol):
    """What augmentation needs of a detector."""

    num_categories: int
    evaluation: EvalSpec
    keypoint_mirror: tuple[int, ...]
    """Which keypoint each becomes in a mirror; empty when that is not known."""

    @property
    def has_masks(self) -> bool:
        """Whether ``mask_probabilities`` may be called."""
        ...

    @property
    def has_keypoints(self) -> bool:
        """Whether ``keypoint_maps`` may be called."""
        ...

    def features(self, batch: Batch) -> list[Tensor]:
        """What the other methods look at."""
        ...

    def candidates(self, features: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> Candidates:
        """Boxes before suppression."""
        ...

    def mask_probabilities(self, features: Sequence[Tensor], boxes: Tensor, valid: Tensor, labels: Tensor) -> Tensor:
        """Masks of boxes."""
        ...

    def keypoint_maps(self, features: Sequence[Tensor], boxes: Tensor, valid: Tensor) -> Tensor:
        """Heat-map logits of boxes."""
        ...


@dataclass(slots=True)
class View:
    """The pictures of a batch at another size, or mirrored."""

    batch: Batch
    ratios: Tensor
    """float32 [B, 4]: what x, y, x, y of the picture are multiplied by."""

    is_flipped: bool

    def boxes_there(self, boxes: Tensor, image: Tensor) -> Tensor:
        """Boxes [..., 4] of the pictures ``image`` [...] as they lie in this view."""
        return self._mirrored(boxes * self.ratios[image], image)

    def boxes_back(self, boxes: Tensor, image: Tensor) -> Tensor:
        """The inverse of ``boxes_there``."""
        return self._mirrored(boxes, image) / self.ratios[image]

    def _mirrored(self, boxes: Tensor, image: Tensor) -> Tensor:
        if not self.is_flipped:
            return boxes
        widths = torch.tensor([width for _, width in self.batch.sizes], dtype=boxes.dtype, device=boxes.device)[image]
        return torch.stack([widths - boxes[..., 2], boxes[..., 1], widths - boxes[..., 0], boxes[..., 3]], -1)


def detect_augmented(detector: Detecting, batch: Batch) -> list[Detections]:
    """What is in each picture, in the pixels of ``batch``, from all views that ``detector.evaluation`` asks for.

    The features of all views are kept until the masks are made. The caller turns gradients off.

    Raises:
        SpecError: keypoints with flip, and the detector does not know which keypoints change sides.
    """
    evaluation, pictures = detector.evaluation, len(batch.sizes)
    if detector.has_keypoints and evaluation.flip and not detector.keypoint_mirror:
        raise SpecError(
            "keypoints cannot be evaluated with flip: which of them change sides is not known; leave it out"
        )
    views = list(augmented_views(batch, evaluation))
    features = [detector.features(view.batch) for view in views]
    seen = list(zip(views, features, strict=True))
    merged = _merged([_back(view, detector.candidates(maps, view.batch.sizes)) for view, maps in seen])
    found = best_detections(merged, pictures, detector.num_categories, evaluation)
    if evaluation.merge == "vote":
        for number, one in enumerate(found):
            one.boxes = voted(one, merged, number, evaluation.vote_iou)
    if detector.has_masks:
        _add_masks(detector, seen, found)
    if detector.has_keypoints:
        _add_keypoints(detector, seen, found)
    return found


def _add_masks(detector: Detecting, seen: Sequence[tuple[View, list[Tensor]]], found: list[Detections]) -> None:
    boxes, valid, image = _padded(found)
    labels = torch.cat([one.labels for one in found])
    parts = []
    for view, features in seen:
        part = detector.mask_probabilities(features, view.boxes_there(boxes, image), valid, labels)
        parts.append(part.flip(-1) if view.is_flipped else part)
    for one, own in zip(found, torch.split(_mean(parts), [len(one.boxes) for one in found]), strict=True):
        one.masks = own


def _add_keypoints(detector: Detecting, seen: Sequence[tuple[View, list[Tensor]]], found: list[Detections]) -> None:
    boxes, valid, image = _padded(found)
    parts = []
    for view, features in seen:
        part = detector.keypoint_maps(features, view.boxes_there(boxes, image), valid)
        parts.append(part.flip(-1)[:, list(detector.keypoint_mirror)] if view.is_flipped else part)
    places = place_keypoints(_mean(parts), boxes[valid])
    for one, own in zip(found, torch.split(places, [len(one.boxes) for one in found]), strict=True):
        one.keypoints = own


def _padded(found: Sequence[Detections]) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes [B, R, 4], which are real, and the picture of each, bool and int64 [B, R]."""
    boxes, valid = padded_boxes([one.boxes for one in found])
    return boxes, valid, torch.arange(len(found), device=boxes.device)[:, None].expand(valid.shape)


def augmented_views(batch: Batch, evaluation: EvalSpec) -> Iterator[View]:
    """Every scale, as it is and, with ``flip``, mirrored; without ``scales`` the size of the batch."""
    for scale in evaluation.scales or (None,):
        for is_flipped in (False, True) if evaluation.flip else (False,):
            yield _view(batch, scale, evaluation.scales_max_side, is_flipped)


def _view(batch: Batch, scale: int | None, max_side: int, is_flipped: bool) -> View:
    sizes = [size if scale is None else fitted_size(*size, scale, max_side) for size in batch.sizes]
    height, width = (-(-max(sides) // DIVISOR) * DIVISOR for sides in zip(*sizes, strict=True))
    images = batch.images.new_zeros((len(sizes), 3, height, width))
    for target, image, old, (h, w) in zip(images, batch.images, batch.sizes, sizes, strict=True):
        picture = image[:, : old[0], : old[1]]
        if old != (h, w):
            picture = resized_picture(picture, (h, w))
        target[:, :h, :w] = picture.flip(-1) if is_flipped else picture
    ratios = [(w / old[1], h / old[0]) * 2 for old, (h, w) in zip(batch.sizes, sizes, strict=True)]
    own = Batch(images, sizes, batch.targets, batch.image_ids, batch.original_sizes)
    return View(own, torch.tensor(ratios, device=images.device), is_flipped)


def _back(view: View, found: Candidates) -> Candidates:
    return Candidates(view.boxes_back(found.boxes, found.image), found.scores, found.labels, found.image)


def _merged(parts: Sequence[Candidates]) -> Candidates:
    return Candidates(
        boxes=torch.cat([part.boxes for part in parts]),
        scores=torch.cat([part.scores for part in parts]),
        labels=torch.cat([part.labels for part in parts]),
        image=torch.cat([part.image for part in parts]),
    )


def voted(found: Detections, candidates: Candidates, image: int, iou: float) -> Tensor:
    """Each box as the mean of the candidates of its category that overlap it by ``iou`` or more, weighted by score.

    Its score stays (Detectron's scoring method ID).
    """
    own = candidates.image == image
    boxes, labels, scores = candidates.boxes[own], candidates.labels[own], candidates.scores[own]
    near = (pairwise_iou(found.boxes, boxes) >= iou) & (found.labels[:, None] == labels)
    weights = torch.where(near, scores, 0.0)
    return weights @ boxes / weights.sum(1, keepdim=True)


def _mean(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(parts)).mean(0)
