"""From a picture and its instances to a sample: resize, mirror, crop. All randomness comes from the generator given.

There is one resize for everything: bilinear on uint8 with antialiasing (torch), which agrees with Pillow's. Pictures
have their channels last in memory throughout, for which torch has fast kernels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raystudy.data.batch import Sample
from raystudy.data.instances import Instances
from raystudy.spec.data import InputSpec

Picture = NDArray[np.uint8]

CROP_DRAWS = 10
"""Windows tried until one holds the centre of an instance; then one is laid around an instance."""


@dataclass(frozen=True, slots=True)
class Resizable:
    """A picture that can be had at any size; decoded and resized no sooner than it is."""

    size: tuple[int, int]
    """Height and width as it lies on disk."""

    at: Callable[[tuple[int, int]], Picture]
    """Height and width to uint8 [height, width, 3] RGB, which is not to be written to."""


def resizable(picture: Picture) -> Resizable:
    """A picture that is in memory already."""
    return Resizable((picture.shape[0], picture.shape[1]), partial(resize, picture))


def augmentation_rng(seed: int, iteration: int, slot: int) -> np.random.Generator:
    """The generator of one picture of one iteration; ``slot`` counts the pictures of the global batch."""
    return np.random.default_rng((seed, iteration, slot))


def train_sample(
    picture: Resizable, instances: Instances, spec: InputSpec, image_id: int, rng: np.random.Generator
) -> Sample:
    """Resize, mirror half of the pictures, cut a random window.

    Args:
        picture: RGB.
        instances: in pixels of ``picture`` as it lies on disk.
        spec: sizes, crop and flip.
        image_id: of the annotations.
        rng: the only source of randomness; always drawn from in the same order.
    """
    is_flipped = bool(rng.random() < 0.5) and spec.flip
    short_side = spec.train_short_sides[int(rng.integers(len(spec.train_short_sides)))]
    size = resized_size(*picture.size, short_side, spec)
    if is_flipped:
        instances = instances.flipped(picture.size[1])
    instances = _resized(instances, picture.size, size)
    pixels = picture.at(size)
    if spec.crop and max(size) > spec.crop:
        left, top, cut_width, cut_height = _draw_window(size, instances, spec.crop, rng)
        instances = instances.cropped(left, top, cut_width, cut_height)
        if is_flipped:
            left = size[1] - left - cut_width
        pixels = pixels[top : top + cut_height, left : left + cut_width]
    # Resizing and mirroring give the same bits in either order; this one can be had from a resized picture.
    image = _to_tensor(pixels)
    return Sample(_mirrored(image) if is_flipped else image, instances.to_target(), image_id, picture.size)


def test_sample(picture: Resizable, instances: Instances, spec: InputSpec, image_id: int) -> Sample:
    """Resize to the test size, nothing else."""
    size = resized_size(*picture.size, spec.test_short_side, spec)
    target = _resized(instances, picture.size, size).to_target()
    return Sample(_to_tensor(picture.at(size)), target, image_id, picture.size)


def whole_sample(picture: Resizable, instances: Instances, image_id: int) -> Sample:
    """As it lies on disk, for test-time augmentation, which makes every size that it needs from that."""
    return Sample(_to_tensor(picture.at(picture.size)), instances.to_target(), image_id, picture.size)


def resized_size(height: int, width: int, short_side: int, spec: InputSpec) -> tuple[int, int]:
    """Height and width after resizing the shorter side to ``short_side``, the longer to at most ``spec.max_side``."""
    return fitted_size(height, width, short_side if spec.resize else min(height, width), spec.max_side)


def fitted_size(height: int, width: int, short_side: int, max_side: int) -> tuple[int, int]:
    """Height and width with the shorter side at ``short_side``, unless the longer one would exceed ``max_side``."""
    scale = short_side / min(height, width)
    if scale * max(height, width) > max_side:
        scale = max_side / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def resize(picture: Picture, size: tuple[int, int]) -> Picture:
    """A picture, uint8 [H, W, 3], at another height and width; itself where that is its own."""
    if picture.shape[:2] == size:
        return picture
    resized: Picture = resized_picture(_to_tensor(picture), size).permute(1, 2, 0).numpy()
    return resized


def resized_picture(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """A picture, uint8 [3, H, W], at another size; on the CPU the very bits that ``test_sample`` gives."""
    if picture.device.type == "cpu":
        # Channels stay last in memory, said so that torch sees it in a batch of one: twice as fast as its guess.
        given = picture.permute(1, 2, 0).contiguous()[None].permute(0, 3, 1, 2)
        return _interpolated(given, size)[0]
    return _interpolated(picture[None].float(), size)[0].round().clamp(0, 255).to(torch.uint8)


def _resized(instances: Instances, old: tuple[int, int], new: tuple[int, int]) -> Instances:
    return instances if old == new else instances.scaled(new[1] / old[1], new[0] / old[0])


def _interpolated(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    return torch.nn.functional.interpolate(pictures, size=size, mode="bilinear", antialias=True, align_corners=False)


def _draw_window(
    size: tuple[int, int], instances: Instances, side: int, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Left, top, width and height of a window that holds the centre of an instance, if there is any instance."""
    height, width = size
    free_x, free_y = max(0, width - side), max(0, height - side)
    centres = (instances.boxes[:, :2] + instances.boxes[:, 2:]) / 2
    for _ in range(CROP_DRAWS):
        left, top = int(rng.integers(free_x + 1)), int(rng.integers(free_y + 1))
        held = (centres >= (left, top)).all(axis=1) & (centres < (left + side, top + side)).all(axis=1)
        if held.any() or len(centres) == 0:
            break
    else:
        x, y = centres[int(rng.integers(len(centres)))]
        left, top = min(max(0, int(x) - side // 2), free_x), min(max(0, int(y) - side // 2), free_y)
    return left, top, min(side, width), min(side, height)


def _to_tensor(picture: Picture) -> Tensor:
    """[3, H, W], a view: channels stay last in memory."""
    return torch.from_numpy(np.require(picture, requirements=("C", "W"))).permute(2, 0, 1)


def _mirrored(image: Tensor) -> Tensor:
    return image[None].flip(3)[0]
