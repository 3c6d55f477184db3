"""Run-length encoding from the box against torchvision's paste into the whole picture."""

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_api
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

from raystudy.evaluation import masks as masks_module
from raystudy.evaluation.masks import Rle, areas, encode_masks


def pasted(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> list[Rle]:
    whole = (paste_masks_in_image(masks[:, None], boxes, size)[:, 0] > 0.5).numpy().astype(np.uint8)
    return [mask_api.encode(np.asfortranarray(mask)) for mask in whole]


def blobs(number: int, side: int, generator: torch.Generator) -> Tensor:
    """Smooth masks; the first three are full, empty and exactly at the threshold."""
    coarse = torch.randn(number, 1, 5, 5, generator=generator)
    masks = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")[:, 0].mul(4).sigmoid()
    masks[0], masks[1], masks[2] = 1.0, 0.0, 0.5
    return masks


@pytest.mark.parametrize(
    ("size", "side", "inside"),
    [((480, 640), 28, True), ((128, 128), 16, True), ((37, 23), 28, True), ((61, 47), 8, False), ((1, 1), 4, False)],
)
def test_every_encoding_equals_torchvisions(size: tuple[int, int], side: int, inside: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    height, width = size
    centre = torch.rand(60, 2, generator=generator) * torch.tensor([width, height])
    extent = torch.rand(60, 2, generator=generator) ** 2 * torch.tensor([width, height])
    boxes = torch.cat([centre - extent / 2, centre + extent / 2], dim=1)
    if inside:
        boxes[:, 0::2].clamp_(0, width)
        boxes[:, 1::2].clamp_(0, height)
    # A whole picture (its columns join), all its height, a box without extent.
    boxes[0] = boxes[3] = torch.tensor([0, 0, width, height])
    boxes[4, 1::2] = torch.tensor([0, height])
    boxes[5] = torch.tensor([3, 3, 3, 3])
    masks = blobs(60, side, generator)
    masks[4] = 1.0
    assert encode_masks(masks, boxes, size) == pasted(masks, boxes, size)


def test_random_noise_encodes_alike() -> None:
    generator = torch.Generator().manual_seed(1)
    masks = torch.rand(30, 7, 7, generator=generator)
    boxes = torch.tensor([[2.5, 1.25, 28.75, 19.0]]).repeat(30, 1)
    assert encode_masks(masks, boxes, (20, 30)) == pasted(masks, boxes, (20, 30))


def test_small_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(2)
    masks = blobs(20, 14, generator)
    boxes = torch.rand(20, 4, generator=generator) * 40
    boxes[:, 2:] += boxes[:, :2]
    whole = encode_masks(masks, boxes, (90, 80))
    monkeypatch.setattr(masks_module, "MAX_CHUNK_PIXELS", 700)
    assert encode_masks(masks, boxes, (90, 80)) == whole


def test_no_masks_give_no_encodings() -> None:
    assert encode_masks(torch.zeros(0, 28, 28), torch.zeros(0, 4), (10, 10)) == []


def test_areas_of_many_masks_are_their_pixels() -> None:
    generator = torch.Generator().manual_seed(3)
    boxes = torch.rand(600, 4, generator=generator) * 20
    boxes[:, 2:] += boxes[:, :2]
    rles = encode_masks(blobs(600, 7, generator), boxes, (40, 40))
    expected = [int(mask_api.decode(rle).sum()) for rle in rles]
    assert areas(rles).tolist() == expected
    assert areas([]).tolist() == []
