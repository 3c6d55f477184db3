"""How weights are evaluated."""

from dataclasses import dataclass


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

    def problems(self) -> list[str]:
        """What is wrong, in words."""
        found = []
        if not 0 <= self.score_threshold < 1:
            found.append(f"score_threshold is {self.score_threshold:g}, but must be in [0, 1)")
        if not 0 < self.nms_iou <= 1:
            found.append(f"nms_iou is {self.nms_iou:g}, but must be in (0, 1]")
        if self.detections_per_image < 1 or self.batch_size < 1:
            found.append("detections_per_image and batch_size must be at least 1")
        if any(sigma <= 0 for sigma in self.keypoint_sigmas):
            found.append(f"keypoint_sigmas are {self.keypoint_sigmas}, but must be above 0")
        return found
