"""How weights are evaluated."""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalSpec:
    """How detections are made and scored on the whole validation set."""

    score_threshold: float = 0.05
    nms_iou: float = 0.5
    detections_per_image: int = 100
    batch_size: int = 1
    """Pictures in one forward pass. Padding makes it part of the result."""

    keypoint_sigmas: tuple[float, ...] = ()
    """Spread of the annotation of each keypoint as a share of the object's scale; empty takes COCO's 17 (for OKS)."""

    scales: tuple[int, ...] = ()
    """Shorter sides at which each picture is looked at, pixels; empty is the size of ``InputSpec`` alone.

    Detectron's for X152: 400, 500, 600, 700, 900, 1000, 1100, 1200; the paper prints none.
    """

    scales_max_side: int = 2000
    """Longest side at any of ``scales``."""

    flip: bool = False
    """Whether each picture is also looked at in a mirror."""

    merge: Literal["nms", "vote"] = "nms"
    """How boxes of all scales and mirrors become one: suppression alone, or then the mean of what is suppressed."""

    vote_iou: float = 0.9
    """Overlap from which a box takes part in another's mean (Detectron's ``BBOX_VOTE.VOTE_TH`` for X152)."""

    train_images: int = 0
    """Pictures of the training set, always the same, that are scored at every evaluation too; 0 for none."""

    @property
    def is_augmented(self) -> bool:
        """Whether detections come from more than the picture as it is."""
        return bool(self.scales) or self.flip

    @property
    def plain(self) -> "EvalSpec":
        """Without augmentation: how a trial is evaluated before its end."""
        names = ("scales", "scales_max_side", "flip", "merge", "vote_iou")
        return replace(self, **{name: getattr(_DEFAULT, name) for name in names})

    def problems(self) -> list[str]:
        """What is wrong, in words."""
        found = []
        if not 0 <= self.score_threshold < 1:
            found.append(f"score_threshold is {self.score_threshold:g}, but must be in [0, 1)")
        if not 0 < self.nms_iou <= 1:
            found.append(f"nms_iou is {self.nms_iou:g}, but must be in (0, 1]")
        if self.detections_per_image < 1 or self.batch_size < 1:
            found.append("detections_per_image and batch_size must be at least 1")
        if self.train_images < 0:
            found.append(f"train_images is {self.train_images}, but must be at least 0")
        if any(sigma <= 0 for sigma in self.keypoint_sigmas):
            found.append(f"keypoint_sigmas are {self.keypoint_sigmas}, but must be above 0")
        if any(scale < 1 for scale in self.scales) or (self.scales and self.scales_max_side < max(self.scales)):
            found.append(
                f"scales are {self.scales} with scales_max_side {self.scales_max_side}, but scales must be at least 1 "
                "pixel and none above scales_max_side"
            )
        if self.merge not in ("nms", "vote"):
            found.append(f"merge is {self.merge!r}, but must be nms or vote")
        if not 0 < self.vote_iou <= 1:
            found.append(f"vote_iou is {self.vote_iou:g}, but must be in (0, 1]")
        return found


_DEFAULT = EvalSpec()
