"""From a picture and its instances to a sample: mirror, resize, crop. All randomness comes from the generator given.

There is one resize for everything: bilinear on uint8 with antialiasing (torch), which agrees with Pillow's.
"""

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


def augmentation_rng(seed: int, iteration: int, slot: int) -> np.random.Generator:
    """The generator of one picture of one iteration; ``slot`` counts the pictures of the global batch."""
    return np.random.default_rng((seed, iteration, slot))


def train_sample(
    picture: Picture, instances: Instances, spec: InputSpec, image_id: int, rng: np.random.Generator
) -> Sample:
    """Mirror (half of the pictures), resize, cut a random window.

    Args:
        picture: uint8 [H, W, 3], RGB.
        instances: in pixels of ``picture``.
        spec: sizes, crop and flip.
        image_id: of the annotations.
        rng: the only source of randomness; always drawn from in the same order.
    """
    size = (picture.shape[0], picture.shape[1])
    is_flipped = bool(rng.random() < 0.5)
    short_side = spec.train_short_sides[int(rng.integers(len(spec.train_short_sides)))]
    if spec.flip and is_flipped:
        picture, instances = picture[:, ::-1], instances.flipped(size[1])
    picture, instances = _resized(picture, instances, resized_size(*size, short_side, spec))
    if spec.crop and max(picture.shape[:2]) > spec.crop:
        left, top, width, height = _draw_window(picture, instances, spec.crop, rng)
        picture = picture[top : top + height, left : left + width]
        instances = instances.cropped(left, top, width, height)
    return Sample(_to_tensor(picture), instances.to_target(), image_id, size)


def test_sample(picture: Picture, instances: Instances, spec: InputSpec, image_id: int) -> Sample:
    """Resize to the test size, nothing else."""
    size = (picture.shape[0], picture.shape[1])
    picture, instances = _resized(picture, instances, resized_size(*size, spec.test_short_side, spec))
    return Sample(_to_tensor(picture), instances.to_target(), image_id, size)


def whole_sample(picture: Picture, instances: Instances, image_id: int) -> Sample:
    """As it lies on disk, for test-time augmentation, which makes every size that it needs from that."""
    return Sample(_to_tensor(picture), instances.to_target(), image_id, (picture.shape[0], picture.shape[1]))


def resized_size(height: int, width: int, short_side: int, spec: InputSpec) -> tuple[int, int]:
    """Height and width after resizing the shorter side to ``short_side``, the longer to at most ``spec.max_side``."""
    return fitted_size(height, width, short_side if spec.resize else min(height, width), spec.max_side)


def fitted_size(height: int, width: int, short_side: int, max_side: int) -> tuple[int, int]:
    """Height and width with the shorter side at ``short_side``, unless the longer one would exceed ``max_side``."""
    scale = short_side / min(height, width)
    if scale * max(height, width) > max_side:
        scale = max_side / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def resized_picture(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """A picture, uint8 [3, H, W], at another size; on the CPU the very bits that ``test_sample`` gives."""
    if picture.device.type == "cpu":
        # Channels stay last in memory: torch has a fast uint8 kernel for that layout.
        given = picture[None].contiguous(memory_format=torch.channels_last)
        return _interpolated(given, size)[0]
    return _interpolated(picture[None].float(), size)[0].round().clamp(0, 255).to(torch.uint8)


def _resized(picture: Picture, instances: Instances, size: tuple[int, int]) -> tuple[Picture, Instances]:
    height, width = picture.shape[:2]
    if (height, width) == size:
        return picture, instances
    resized = resized_picture(torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1), size)
    return resized.permute(1, 2, 0).numpy(), instances.scaled(size[1] / width, size[0] / height)


def _interpolated(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    return torch.nn.functional.interpolate(pictures, size=size, mode="bilinear", antialias=True, align_corners=False)


def _draw_window(
    picture: Picture, instances: Instances, side: int, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Left, top, width and height of a window that holds the centre of an instance, if there is any instance."""
    height, width = picture.shape[:2]
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
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))
