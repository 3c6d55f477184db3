"""Keypoint branch (He et al. 2017, section 5): for each keypoint a heat map over the RoI, one place of it right."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raystudy.data.batch import Target
from raystudy.errors import DataError
from raystudy.models.box_head import Rois
from raystudy.models.layers import conv_norm, exact
from raystudy.models.normalization import NormFactory
from raystudy.spec.model import KeypointHeadSpec


class KeypointHead(nn.Module):
    """3x3 convolutions, a 4x4 deconvolution to one map a keypoint, and a bilinear enlargement by 2.

    Without norm unless the spec asks for it: Detectron's GN baselines (``FAST_RCNN`` and ``MRCNN`` heads) have no
    keypoint head with GN.
    """

    def __init__(self, spec: KeypointHeadSpec, channels: int, norm: NormFactory) -> None:
        super().__init__()
        self.spec = spec
        layer: NormFactory = norm if spec.has_norm else lambda _: nn.Identity()
        widths = [channels, *[spec.conv_channels] * spec.num_convs]
        self.convs = nn.Sequential(*(conv_norm(i, o, 3, layer, relu=True) for i, o in pairwise(widths)))
        self.deconv = nn.ConvTranspose2d(widths[-1], spec.num_keypoints, 4, stride=2, padding=1)

    def forward(self, pooled: Tensor) -> Tensor:
        """[N, C, P, P] to heat-map logits [N, K, 4P, 4P], float32."""
        maps = exact(self.deconv(self.convs(pooled)))
        return F.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=False)

    def loss(self, logits: Tensor, places: Tensor, valid: Tensor) -> dict[str, Tensor]:
        """Cross entropy over all places of a map, mean over the visible keypoints that lie in their RoI.

        Detectron's ``KRCNN.NORMALIZE_BY_VISIBLE_KEYPOINTS``. Without such keypoints it is 0, with gradients.

        Args:
            logits: [N, K, S, S].
            places: int64 [N, K], row times S plus column.
            valid: bool [N, K].
        """
        distance = F.cross_entropy(logits.flatten(0, 1).flatten(1), places.flatten(), reduction="none")
        chosen = torch.where(valid.flatten(), distance, 0.0).sum()
        return {"loss_keypoint": chosen / valid.sum().clamp(min=1)}


def keypoint_targets(targets: Sequence[Target], rois: Rois, spec: KeypointHeadSpec) -> tuple[Tensor, Tensor]:
    """Where on its heat map each keypoint of each foreground RoI is, and whether it counts.

    A keypoint counts when it is labelled (visible or hidden) and inside the RoI, its lower right edge included
    (Heckbert 1990: a continuous coordinate c lies in the cell floor(c)).

    Returns:
        int64 [F, K] and bool [F, K] on the RoIs' device.

    Raises:
        DataError: an instance without keypoints, or with another number of them.
    """
    size, boxes = spec.map_size, rois.boxes[rois.is_foreground]
    points = _padded(targets, spec.num_keypoints, rois.boxes)
    own = points.gather(1, rois.instance[..., None, None].expand(-1, -1, *points.shape[2:]))[rois.is_foreground]
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    cell = ((own[..., :2] - low) * (size / (high - low))).floor()
    cell = torch.where(own[..., :2] == high, size - 1.0, cell)
    inside = ((cell >= 0) & (cell < size)).all(-1)
    valid = inside & (own[..., 2] > 0)
    column, row = torch.where(valid[..., None], cell, 0.0).to(torch.int64).unbind(-1)
    return row * size + column, valid


def place_keypoints(logits: Tensor, boxes: Tensor) -> Tensor:
    """The best place of each heat map, at the resolution of the picture.

    Each map is enlarged (bicubic) to its box in whole pixels and its maximum taken, as Detectron does.

    Args:
        logits: [N, K, S, S].
        boxes: float32 [N, 4], xyxy.

    Returns:
        float32 [N, K, 3]: x, y and the logit there.
    """
    sizes = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
    found = logits.new_zeros((*logits.shape[:2], 3))
    for index, (width, height) in enumerate(sizes.ceil().to(torch.int64).tolist()):
        enlarged = F.interpolate(logits[index][:, None], size=(height, width), mode="bicubic", align_corners=False)
        score, place = enlarged.flatten(1).max(1)
        cell = torch.stack([place % width, place // width], -1) + 0.5
        shape = torch.tensor([width, height], device=boxes.device)
        found[index] = torch.cat([cell * (sizes[index] / shape) + boxes[index, :2], score[:, None]], 1)
    return found


def _padded(targets: Sequence[Target], number: int, like: Tensor) -> Tensor:
    """The keypoints of all pictures, [B, G, K, 3], sent to the device in one copy."""
    longest = max([1, *(len(target.boxes) for target in targets)])
    padded = torch.zeros(len(targets), longest, number, 3, dtype=like.dtype)
    for row, target in enumerate(targets):
        if len(target.boxes) == 0:
            continue
        if target.keypoints is None:
            raise DataError("a picture has boxes but no keypoints; give keypoints, or set model.keypoint_head to none")
        if target.keypoints.shape[1] != number:
            raise DataError(
                f"instances have {target.keypoints.shape[1]} keypoints, but model.keypoint_head.num_keypoints is "
                f"{number}; set it to the data's"
            )
        padded[row, : len(target.boxes)] = target.keypoints
    return padded.to(like.device, non_blocking=True)
