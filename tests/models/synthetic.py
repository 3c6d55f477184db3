"""Small specs and made-up batches for the tests of the models."""

from dataclasses import replace

import torch
from torch import Tensor
from torchvision.ops import roi_align

from raystudy.data.batch import Batch, Sample, Target, collate
from raystudy.spec.model import Backbone, ModelSpec, Norm
from raystudy.spec.presets import tiny_model

NUM_CATEGORIES = 6


class RasterMasks:
    """Full-size masks, cropped as torchvision crops them (fractional at the edges)."""

    def __init__(self, masks: Tensor) -> None:
        self.masks = masks

    def __len__(self) -> int:
        return len(self.masks)

    def crop(self, boxes: Tensor, instances: Tensor, size: int) -> Tensor:
        rois = torch.cat([instances[:, None].to(boxes), boxes], 1)
        cropped: Tensor = roi_align(self.masks[:, None].to(boxes), rois, size, 1.0)[:, 0]
        return cropped


def tiny_spec(backbone: Backbone = "tiny", norm: Norm = "gn", has_masks: bool = True) -> ModelSpec:
    """The demo's detector with narrower heads and smaller budgets."""
    tiny = tiny_model()
    assert tiny.mask_head is not None
    return replace(
        tiny,
        backbone=backbone,
        norm=norm,
        fpn_channels=16,
        rpn=replace(tiny.rpn, pre_nms_train=60, pre_nms_test=60, post_nms_train=40, post_nms_test=40),
        box_head=replace(tiny.box_head, num_convs=1, conv_channels=16, num_fcs=1, fc_channels=32, rois_per_image=16),
        mask_head=replace(tiny.mask_head, pool_size=4, num_convs=1, conv_channels=16) if has_masks else None,
    )


def rectangles(boxes: Tensor, height: int, width: int) -> RasterMasks:
    """Masks that fill their box but for a margin at the left and the top."""
    y, x = torch.arange(height)[:, None] + 0.5, torch.arange(width)[None] + 0.5
    x1, y1, x2, y2 = (value[:, None, None] for value in boxes.unbind(1))
    margin = 0.2
    inside_x = (x > x1 + margin * (x2 - x1)) & (x < x2)
    inside_y = (y > y1 + margin * (y2 - y1)) & (y < y2)
    return RasterMasks((inside_x & inside_y).float())


def random_target(generator: torch.Generator, number: int, height: int, width: int) -> Target:
    """``number`` boxes of 16 to 60 pixels with their masks."""
    sides = 16 + 44 * torch.rand(number, 2, generator=generator)
    corner = torch.rand(number, 2, generator=generator) * (torch.tensor([width, height]) - sides)
    boxes = torch.cat([corner, corner + sides], 1)
    labels = torch.randint(1, NUM_CATEGORIES + 1, (number,), generator=generator)
    return Target(boxes, labels, rectangles(boxes, height, width))


def random_batch(
    instances: tuple[int, ...] = (3, 5), sizes: tuple[tuple[int, int], ...] | None = None, seed: int = 0
) -> Batch:
    """One picture for each entry of ``instances``; 96 x 96 unless ``sizes`` says otherwise."""
    generator = torch.Generator().manual_seed(seed)
    samples: list[Sample] = []
    for number, (height, width) in zip(instances, sizes or [(96, 96)] * len(instances), strict=True):
        image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
        target = random_target(generator, number, height, width)
        samples.append(Sample(image, target, len(samples), (height, width)))
    return collate(samples, 32)
