"""From uint8 pixels to input."""

from typing import Literal

import pytest
import torch

from raystudy.models.pixels import BLOCK, PixelNormalizer
from raystudy.spec.model import PixelSpec


def test_detectrons_input_is_bgr_minus_the_mean_with_zero_padding() -> None:
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    kept = images.clone()
    pixels = PixelNormalizer(PixelSpec())(images, [(8, 8), (5, 6)])
    mean = torch.tensor([102.9801, 115.9465, 122.7717])
    torch.testing.assert_close(pixels[0, :, 2, 3], images[0, :, 2, 3].flip(0).float() - mean)
    assert not pixels[1, :, 5:].any()
    assert not pixels[1, :, :, 6:].any()
    assert torch.equal(images, kept)


def test_torchvisions_input_is_rgb_over_its_deviation() -> None:
    spec = PixelSpec(order="rgb", mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0))
    pixels = PixelNormalizer(spec)(torch.full((1, 3, 1, 1), 11, dtype=torch.uint8), [(1, 1)])
    assert pixels.flatten().tolist() == [5.0, 2.25, 1.0]


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("std", [(1.0, 1.0, 1.0), (57.375, 57.12, 58.395)])
@pytest.mark.parametrize("channels_last", [True, False])
def test_normalising_in_blocks_gives_the_bits_of_the_formula(
    order: Literal["rgb", "bgr"], std: tuple[float, float, float], channels_last: bool
) -> None:
    spec = PixelSpec(order=order, std=std)
    images = torch.randint(0, 256, (2, 3, 96, 1056), dtype=torch.uint8)
    laid = images.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    normalizer = PixelNormalizer(spec)
    pixels = normalizer(laid, [(96, 1056), (61, 999)])
    ordered = images.flip(1) if order == "bgr" else images
    expected = (ordered.float() - torch.tensor(spec.mean).view(3, 1, 1)) * (1 / torch.tensor(std)).view(3, 1, 1)
    expected[1, :, 61:], expected[1, :, :, 999:] = 0, 0
    assert len(images) * 96 * 1056 * 3 > 2 * BLOCK
    assert torch.equal(pixels, expected)
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    assert normalizer.double()(laid, [(96, 1056)] * 2).dtype == torch.float64
