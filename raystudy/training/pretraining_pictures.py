"""The labelled pictures that pre-training learns from."""

import math
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from raystudy.data.image_folder import ImageFolder
from raystudy.data.order import DataOrder
from raystudy.data.pictures import read_picture
from raystudy.data.textures import TEXTURES, texture_crops
from raystudy.errors import DataError
from raystudy.spec.trial import PretrainSpec

HELD_OUT_SEED = 1 << 31
"""Added to the recipe's seed for the crops that top-1 is measured on: no training set reaches it."""

HELD_OUT_BATCH = 100

CROP_AREA = (0.08, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
CROP_DRAWS = 10
"""Share of the picture's area, and width / height, of a training crop: Szegedy et al. 2015 (section 6)."""

TEST_SCALE = 256 / 224
"""Shorter side of a picture to the side of the centre crop that top-1 is measured on (Wu and He 2018)."""

_CROP_STREAM = 5
"""Keeps these draws apart from others that start from the same seed."""

Labelled = tuple[Tensor, Tensor]
"""uint8 [B, 3, S, S] RGB, and int64 [B] classes."""


class Pictures(Protocol):
    """Labelled pictures to learn from, as one worker gets them."""

    num_classes: int
    num_train: int
    num_held_out_batches: int
    """Of all workers."""

    def train_batch(self, iteration: int) -> Labelled:
        """This worker's part of an iteration's batch, which is a function of recipe and iteration alone."""
        ...

    def held_out_batch(self, index: int) -> Labelled:
        """One batch of the pictures that are never trained on."""
        ...


class TextureCrops:
    """The embedded companion of the shapes: six textures to tell apart, rendered once, before training."""

    num_classes = len(TEXTURES)

    def __init__(self, spec: PretrainSpec, rank: int = 0, world: int = 1) -> None:
        self._spec, self._slots = spec, _share(spec.batch_size, rank, world)
        self.num_train = spec.num_pictures
        self.num_held_out_batches = -(-spec.num_held_out // HELD_OUT_BATCH)
        self._images, self._labels = map(torch.from_numpy, texture_crops(spec.seed, self.num_train, spec.image_size))
        self._held_out: Labelled | None = None

    def train_batch(self, iteration: int) -> Labelled:
        """Each crop once in every pass, in a new order, the batch turned by a multiple of 90 degrees or mirrored."""
        size = self._spec.batch_size
        current, slot = divmod(iteration, max(1, self.num_train // size))
        order = np.random.default_rng((self._spec.seed, 0, current)).permutation(self.num_train)
        chosen = torch.from_numpy(order[slot * size : (slot + 1) * size][self._slots])
        turns, mirrored = np.random.default_rng((self._spec.seed, 1, iteration)).integers((4, 2)).tolist()
        images = self._images[chosen].rot90(turns, (2, 3))
        return (images.flip(3) if mirrored else images), self._labels[chosen]

    def held_out_batch(self, index: int) -> Labelled:
        """Rendered when first asked for."""
        if self._held_out is None:
            spec = self._spec
            images, labels = texture_crops(spec.seed + HELD_OUT_SEED, spec.num_held_out, spec.image_size)
            self._held_out = torch.from_numpy(images), torch.from_numpy(labels)
        chosen = slice(index * HELD_OUT_BATCH, (index + 1) * HELD_OUT_BATCH)
        return self._held_out[0][chosen], self._held_out[1][chosen]


class ImageFolderPictures:
    """Pictures of a folder: random crops, resized and mirrored, to learn from; centre crops to measure on."""

    def __init__(self, spec: PretrainSpec, rank: int = 0, world: int = 1) -> None:
        """List the pictures.

        Raises:
            DataError: the folder cannot be used, with everything that is wrong.
        """
        folder = ImageFolder.open(Path(spec.data_path).expanduser())
        self._spec, self._folder = spec, folder
        self._slots = range(spec.batch_size)[_share(spec.batch_size, rank, world)]
        self._order = DataOrder(spec.seed, len(folder.train), spec.batch_size)
        self.num_classes, self.num_train = len(folder.classes), len(folder.train)
        self.num_held_out_batches = -(-len(folder.val) // HELD_OUT_BATCH)

    def train_batch(self, iteration: int) -> Labelled:
        """Every picture comes once in a pass; crop and mirror are drawn from (seed, iteration, slot)."""
        chosen, size = self._order.batch(iteration)[self._slots], self._spec.image_size
        images = np.empty((len(chosen), 3, size, size), dtype=np.uint8)
        for image, index, slot in zip(images, chosen.tolist(), self._slots, strict=True):
            rng = np.random.default_rng((self._spec.seed, _CROP_STREAM, iteration, slot))
            picture = _read(self._folder.train.path(index))
            crop = _resized(picture, random_crop(picture.shape[1], picture.shape[0], rng), size)
            image[:] = (crop[:, ::-1] if rng.random() < 0.5 else crop).transpose(2, 0, 1)
        return torch.from_numpy(images), torch.from_numpy(self._folder.train.labels[chosen])

    def held_out_batch(self, index: int) -> Labelled:
        """Centre crops, of the folder's order."""
        files, size = self._folder.val, self._spec.image_size
        chosen = range(len(files))[index * HELD_OUT_BATCH : (index + 1) * HELD_OUT_BATCH]
        images = np.empty((len(chosen), 3, size, size), dtype=np.uint8)
        for image, picture in zip(images, map(_read, map(files.path, chosen)), strict=True):
            image[:] = _resized(picture, centre_crop(picture.shape[1], picture.shape[0]), size).transpose(2, 0, 1)
        return torch.from_numpy(images), torch.from_numpy(files.labels[chosen.start : chosen.stop])


def open_pictures(spec: PretrainSpec, rank: int = 0, world: int = 1) -> Pictures:
    """The pictures that a recipe names, for one of ``world`` workers.

    Raises:
        DataError: they cannot be used, with everything that is wrong.
    """
    if spec.data == "imagefolder":
        return ImageFolderPictures(spec, rank, world)
    return TextureCrops(spec, rank, world)


def picture_problems(spec: PretrainSpec) -> list[str]:
    """Why a recipe's pictures cannot be trained on, or are not those that it was made for; empty when they can."""
    if spec.data != "imagefolder":
        return []
    if not spec.data_path:
        return [
            f"pre-training of {spec.backbone} with norm {spec.norm} needs pictures: give the folder that holds "
            "train/<class>/ and val/<class>/"
        ]
    root = Path(spec.data_path).expanduser()
    try:
        found = ImageFolder.open(root).checksum()
    except DataError as error:
        return error.problems
    if found == spec.data_checksum:
        return []
    return [
        f"the recipe was made for the pictures {spec.data_checksum or 'of no folder'}, but {root} holds {found}; make "
        "the recipe for this folder (other pictures make other weights), or give the folder that it was made for"
    ]


def random_crop(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A random window (left, top, right, bottom) of ``CROP_AREA`` and ``CROP_RATIO``; the centre if none fits."""
    for _ in range(CROP_DRAWS):
        area = width * height * rng.uniform(*CROP_AREA)
        ratio = math.exp(rng.uniform(math.log(CROP_RATIO[0]), math.log(CROP_RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    w, h = min(width, round(height * CROP_RATIO[1])), min(height, round(width / CROP_RATIO[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def centre_crop(width: int, height: int) -> tuple[float, float, float, float]:
    """The window (left, top, right, bottom) in the middle whose side is the shorter side / ``TEST_SCALE``."""
    side = min(width, height) / TEST_SCALE
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _share(batch: int, rank: int, world: int) -> slice:
    """This worker's slots of a batch."""
    each = batch // world
    return slice(rank * each, (rank + 1) * each)


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as opened:
            width, height = opened.size
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"picture {path} cannot be read ({error}); replace or remove it") from error
    return read_picture(path, height, width)


def _resized(picture: NDArray[np.uint8], window: tuple[float, float, float, float], size: int) -> NDArray[np.uint8]:
    image = Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR, box=window)
    return np.asarray(image)
