"""The labelled pictures that pre-training learns from."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from raystudy.data.textures import TEXTURES, texture_crops
from raystudy.spec.trial import PretrainSpec

HELD_OUT_SEED = 1 << 31
"""Added to the recipe's seed for the crops that top-1 is measured on: no training set reaches it."""


class Pictures(Protocol):
    """Labelled pictures to learn from: uint8 [B, 3, S, S] RGB, with int64 [B] classes."""

    num_classes: int
    num_train: int

    def train_batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        """The batch of an iteration: a function of the recipe and the iteration alone."""
        ...

    def held_out(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pictures that are never trained on."""
        ...


class TextureCrops:
    """The embedded companion of the shapes: six textures to tell apart, rendered once, before training."""

    num_classes = len(TEXTURES)

    def __init__(self, spec: PretrainSpec) -> None:
        self._spec = spec
        self.num_train = spec.num_pictures
        self._images, self._labels = map(torch.from_numpy, texture_crops(spec.seed, self.num_train, spec.image_size))

    def train_batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        """Each crop once in every pass, in a new order, the batch turned by a multiple of 90 degrees or mirrored."""
        size = self._spec.batch_size
        current, slot = divmod(iteration, max(1, self.num_train // size))
        order = np.random.default_rng((self._spec.seed, 0, current)).permutation(self.num_train)
        chosen = torch.from_numpy(order[slot * size : (slot + 1) * size])
        turns, mirrored = np.random.default_rng((self._spec.seed, 1, iteration)).integers((4, 2)).tolist()
        images = self._images[chosen].rot90(turns, (2, 3))
        return (images.flip(3) if mirrored else images), self._labels[chosen]

    def held_out(self) -> Iterator[tuple[Tensor, Tensor]]:
        """In batches of 100."""
        seed = self._spec.seed + HELD_OUT_SEED
        images, labels = map(torch.from_numpy, texture_crops(seed, self._spec.num_held_out, self._spec.image_size))
        yield from zip(torch.split(images, 100), torch.split(labels, 100), strict=True)
