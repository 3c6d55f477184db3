"""From uint8 pixels to input."""

import torch

from raystudy.models.pixels import PixelNormalizer
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
