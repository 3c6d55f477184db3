"""torchvision's way from a COCO data set to a Mask R-CNN's input, as its detection references do it.

A picture is opened by Pillow, its polygons become masks of the picture's full size, both are mirrored, the picture
becomes a float tensor; the model then normalises, resizes and pads pictures and masks (``GeneralizedRCNNTransform``).
Written anew after references/detection, which is no package.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor
from torchvision.datasets import CocoDetection
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.transforms import functional as F

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Item = tuple[Tensor, dict[str, Tensor]]


class TorchvisionLoader:
    """Batches by their pictures' ids."""

    def __init__(self, images: Path, annotations: Path, short_side: int, max_side: int, flip: float = 0.5) -> None:
        """A loader of one split; ``flip`` is the share of pictures that are mirrored."""
        self._data, self._flip = CocoDetection(str(images), str(annotations)), flip
        self._position = {image_id: index for index, image_id in enumerate(self._data.ids)}
        self._transform = GeneralizedRCNNTransform(short_side, max_side, list(MEAN), list(STD)).train()

    def items(self, image_ids: Sequence[int]) -> list[Item]:
        """What leaves the loader's processes."""
        return [self._item(self._position[image_id]) for image_id in image_ids]

    def transformed(self, items: Sequence[Item]) -> tuple[ImageList, list[dict[str, Tensor]]]:
        """What the backbone gets, and the targets that go with it."""
        pictures, targets = self._transform([image for image, _ in items], [dict(target) for _, target in items])
        return pictures, targets

    def _item(self, index: int) -> Item:
        picture, annotations = self._data[index]
        target = _target(annotations, picture.height, picture.width)
        if torch.rand(1) < self._flip:
            picture = F.hflip(picture)
            target["boxes"][:, [0, 2]] = picture.width - target["boxes"][:, [2, 0]]
            target["masks"] = target["masks"].flip(-1)
        return F.convert_image_dtype(F.pil_to_tensor(picture), torch.float), target


def _target(annotations: Sequence[dict[str, Any]], height: int, width: int) -> dict[str, Tensor]:
    kept = [annotation for annotation in annotations if annotation["iscrowd"] == 0]
    boxes = torch.as_tensor([one["bbox"] for one in kept], dtype=torch.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    boxes[:, 0::2].clamp_(min=0, max=width)
    boxes[:, 1::2].clamp_(min=0, max=height)
    masks = [_mask(one["segmentation"], height, width) for one in kept]
    has_extent = (boxes[:, 3] > boxes[:, 1]) & (boxes[:, 2] > boxes[:, 0])
    stacked = torch.stack(masks) if masks else torch.zeros((0, height, width), dtype=torch.uint8)
    labels = torch.tensor([one["category_id"] for one in kept], dtype=torch.int64)
    return {"boxes": boxes[has_extent], "labels": labels[has_extent], "masks": stacked[has_extent]}


def _mask(polygons: Any, height: int, width: int) -> Tensor:
    decoded = coco_mask.decode(coco_mask.frPyObjects(polygons, height, width))
    return torch.as_tensor(np.atleast_3d(decoded), dtype=torch.uint8).any(dim=2)
