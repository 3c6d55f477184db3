"""The contract between data and models: samples, batches, and the instances in them."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class InstanceMasks(Protocol):
    """The masks of one picture's instances, kept compact and rasterised only where they are asked for."""

    def __len__(self) -> int:
        """Number of instances."""
        ...

    def crop(self, boxes: Tensor, instances: Tensor, size: int) -> Tensor:
        """Binary targets: instance ``instances[i]`` seen through ``boxes[i]`` on a ``size`` x ``size`` grid.

        Args:
            boxes: float32 [R, 4], xyxy in the pixels of the sample's image, on the CPU.
            instances: int64 [R].
            size: side of the grid, mask pixels.

        Returns:
            float32 [R, size, size] of 0 and 1, on the CPU.
        """
        ...


@dataclass(slots=True)
class Target:
    """The instances of one picture. Boxes are xyxy with continuous coordinates: width is ``x2 - x1``."""

    boxes: Tensor
    """float32 [N, 4], pixels of the (resized, flipped, cropped) image."""

    labels: Tensor
    """int64 [N], 1 to num_categories; 0 is background."""

    masks: InstanceMasks | None = None
    keypoints: Tensor | None = None
    """float32 [N, K, 3]: x, y, visibility (0 not labelled, 1 hidden, 2 visible)."""


@dataclass(slots=True)
class Sample:
    """One picture as the network will see it, before padding and normalisation."""

    image: Tensor
    """uint8 [3, H, W], RGB; not to be written to. Channels are last in memory."""

    target: Target
    image_id: int
    original_size: tuple[int, int]
    """Height and width of the picture as it lies on disk."""


@dataclass(slots=True)
class Batch:
    """The pictures of one worker for one forward pass."""

    images: Tensor
    """uint8 [B, 3, H, W], RGB, zero-padded at the bottom and right to a common size. Channels are last in memory."""

    sizes: list[tuple[int, int]]
    """Height and width of each picture, without padding."""

    targets: list[Target]
    image_ids: list[int]
    original_sizes: list[tuple[int, int]]

    def to(self, device: torch.device) -> "Batch":
        """The batch with its images on ``device``; targets stay on the CPU, from where they are matched or sent."""
        if self.images.device == device:
            return self
        return Batch(sent(self.images, device), self.sizes, self.targets, self.image_ids, self.original_sizes)

    @property
    def num_instances(self) -> int:
        """Instances in all pictures."""
        return sum(len(target.boxes) for target in self.targets)

    @property
    def num_pixels(self) -> int:
        """Pixels of all pictures, padding not counted."""
        return sum(height * width for height, width in self.sizes)


def sent(images: Tensor, device: torch.device) -> Tensor:
    """``images`` on ``device``.

    To a GPU from pinned memory and in a stream of its own: the copy runs while the GPU still works on the iteration
    before, and neither it nor this process waits for the other. From memory that can be paged out it would wait for
    all that was asked of the GPU before it.
    """
    if device.type != "cuda":
        return images.to(device)
    copying, computing = _copy_stream(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(copying):
        there = images.pin_memory().to(device, non_blocking=True)
    computing.wait_stream(copying)
    there.record_stream(computing)  # its memory is of the other stream, and is used anew only after this one's work
    return there


@functools.cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def collate(samples: Sequence[Sample], size_divisor: int) -> Batch:
    """Pad pictures at the bottom and right to the largest of them, rounded up to a multiple of ``size_divisor``."""
    sizes = [(int(sample.image.shape[1]), int(sample.image.shape[2])) for sample in samples]
    height, width = (-(-max(side) // size_divisor) * size_divisor for side in zip(*sizes, strict=True))
    rows = torch.empty((len(samples), height, width, 3), dtype=torch.uint8)
    for padded, sample, (h, w) in zip(rows, samples, sizes, strict=True):
        padded[:h, :w] = sample.image.permute(1, 2, 0)
        padded[:h, w:], padded[h:] = 0, 0
    return Batch(
        images=rows.permute(0, 3, 1, 2),
        sizes=sizes,
        targets=[sample.target for sample in samples],
        image_ids=[sample.image_id for sample in samples],
        original_sizes=[sample.original_size for sample in samples],
    )


@dataclass(slots=True)
class Detections:
    """What the detector found in one picture, best score first."""

    boxes: Tensor
    """float32 [D, 4], xyxy in pixels of the network's input, clipped to the unpadded image."""

    scores: Tensor
    """float32 [D], 0 to 1."""

    labels: Tensor
    """int64 [D], 1 to num_categories."""

    masks: Tensor | None = None
    """float32 [D, M, M]: probability on a grid over the box; None without mask head."""

    keypoints: Tensor | None = None
    """float32 [D, K, 3]: x, y, score."""
