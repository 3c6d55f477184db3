"""From true COCO pictures on disk to a network's input, against torchvision's references.

Both sides end with normalised, padded floats and the instances that go with them, in batches of two, the same pictures
in the same batches. Cold is as if every picture came for the first time; warm finds them resized in the machine's
store, as every pass but the first does. Of memory, what waits in a loader's queue and what a batch holds until the
network has normalised it is compared; torchvision's batch is counted after its transform, which replaces the items.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.results import ROOT
from benchmarks.row import Outcome, Row
from benchmarks.timing import take_turns
from benchmarks.torchvision_loader import MEAN, STD, TorchvisionLoader
from raystudy.data.batch import Batch
from raystudy.data.coco import CocoDataset
from raystudy.data.jpeg import fast_decoder
from raystudy.data.loader import TrainLoader
from raystudy.data.masks import CompactMasks
from raystudy.data.picture_store import PictureStore
from raystudy.models.pixels import PixelNormalizer
from raystudy.spec.data import InputSpec
from raystudy.spec.model import PixelSpec
from raystudy.spec.presets import load_preset

DATA = ROOT.parent / "shared" / "data" / "coco_permissive"
"""``images/`` and ``instances_train.json``: 45 pictures of COCO."""

LOADER_PROCESSES = 1
"""Told to the loader so that it keeps no pictures in this process; batches are asked for here all the same."""

MAX_DIFFERENCE, MAX_DIFFERENCE_OTHERWISE = 1.0, 10.0
"""Mean difference of the pixels of a picture, of 255. The second is for what torchvision shrinks (without antialiasing)
or gives another size (it rounds down); another picture, or its mirror image, differs by 50 or more."""


class Sides:
    """Our loader and torchvision's, on the same pictures."""

    def __init__(self, short: int, longest: int, quick: bool, flip: bool = True) -> None:
        annotations = DATA / "instances_train.json"
        dataset = CocoDataset.load(DATA / "images", annotations)
        dataset = dataset.subset(np.flatnonzero(dataset.instance_counts)[: 6 if quick else None])
        taken = InputSpec(train_short_sides=(short,), test_short_side=short, max_side=longest, flip=flip)
        base = load_preset("paper").base
        spec = dataclasses.replace(base, input=taken, workers=1, images_per_worker=2)
        self._new_loader = partial(TrainLoader, dataset, spec, 0, 1, loader_processes=LOADER_PROCESSES)
        mean, std = ((255 * r, 255 * g, 255 * b) for r, g, b in (MEAN, STD))
        self._normalize = PixelNormalizer(PixelSpec(order="rgb", mean=mean, std=std))
        self.num_batches = len(dataset) // 2
        self.loader = self._new_loader()
        self.theirs = TorchvisionLoader(DATA / "images", annotations, short, longest, 0.5 if flip else 0.0)
        self.ids = [self.loader.batch(number).image_ids for number in range(self.num_batches)]

    def warm(self, folder: str) -> None:
        """From now on our pictures come from a store in ``folder`` that is filled."""
        self.loader = self._new_loader(store=PictureStore(1 << 34, Path(folder)))
        for number in range(self.num_batches):
            self.loader.batch(number)

    def run_ours(self) -> None:
        """Every batch up to the network."""
        for number in range(self.num_batches):
            self.ours(number)

    def run_theirs(self) -> None:
        """The same batches."""
        for ids in self.ids:
            self.theirs.transformed(self.theirs.items(ids))

    def ours(self, number: int) -> tuple[Batch, Tensor]:
        """A batch and its pixels as the network gets them."""
        batch = self.loader.batch(number)
        return batch, self._normalize(batch.images, batch.sizes)


def _speed(short: int, longest: int, is_warm: bool, quick: bool) -> Outcome:
    if not DATA.is_dir():
        return Outcome(missing=f"it needs pictures of COCO in {DATA.relative_to(ROOT.parent)}, beside the repository")
    sides = Sides(short, longest, quick)
    is_right = _agree(Sides(short, longest, quick=True, flip=False))
    with tempfile.TemporaryDirectory() as folder:
        if is_warm:
            sides.warm(folder)
        ours, peers = take_turns(sides.run_ours, sides.run_theirs, quick=quick)
    pictures = 2 * sides.num_batches
    decoder = "Pillow" if fast_decoder() is None else "simplejpeg"
    note = (
        f"{pictures} pictures of COCO in batches of 2 at {short}/{longest}: {pictures / float(np.median(ours)):.0f} "
        f"pictures a CPU second; {'from the store' if is_warm else f'decoded by {decoder}'}; sizes, boxes and pixels "
        f"{'agree' if is_right else 'differ'}"
    )
    return Outcome(ours, peers, is_right=is_right, note=note)


def _agree(sides: Sides) -> bool:
    """Whether both sides give the same pictures and boxes, up to the resize's rounding and antialiasing."""
    for number, ids in enumerate(sides.ids):
        batch, pixels = sides.ours(number)
        pictures, targets = sides.theirs.transformed(sides.theirs.items(ids))
        for index, (size, their_size) in enumerate(zip(batch.sizes, pictures.image_sizes, strict=True)):
            own, other = batch.targets[index].boxes, targets[index]["boxes"]
            height, width = np.minimum(size, their_size).tolist()
            difference = (pixels[index] - pictures.tensors[index])[:, :height, :width].abs().mean() * 255 * np.mean(STD)
            is_exact = size == their_size and size > batch.original_sizes[index]
            if (
                np.abs(np.subtract(size, their_size)).max() > 1
                or len(own) != len(other)
                or (len(own) and (own - other).abs().max() > (0.01 if is_exact else 1.5))
                or difference > (MAX_DIFFERENCE if is_exact else MAX_DIFFERENCE_OTHERWISE)
            ):
                return False
    return True


def _memory(pick: Callable[[Sides, int], tuple[Iterable[Any], Iterable[Any]]], quick: bool) -> Outcome:
    if not DATA.is_dir():
        return Outcome(missing=f"it needs pictures of COCO in {DATA.relative_to(ROOT.parent)}, beside the repository")
    sides = Sides(800, 1333, quick)
    totals = np.array([[num_bytes(one) for one in pick(sides, number)] for number in range(sides.num_batches)])
    own, other = (totals.sum(axis=0) / (2 * sides.num_batches) / 2**20).tolist()
    note = f"mean of {2 * sides.num_batches} pictures of COCO at 800/1333"
    return Outcome([own], [other], unit="MiB a picture", note=note)


def _leaving(sides: Sides, number: int) -> tuple[Any, Any]:
    return sides.loader.batch(number), sides.theirs.items(sides.ids[number])


def _held(sides: Sides, number: int) -> tuple[Any, Any]:
    return sides.loader.batch(number), sides.theirs.transformed(sides.theirs.items(sides.ids[number]))


def num_bytes(held: Any) -> int:
    """Bytes of all arrays and tensors in something, however deep."""
    if isinstance(held, Tensor | np.ndarray):
        return int(held.nbytes)
    if isinstance(held, dict):
        return sum(map(num_bytes, held.values()))
    if isinstance(held, list | tuple):
        return sum(map(num_bytes, held))
    if isinstance(held, CompactMasks):
        return num_bytes(list(held.outlines))
    if dataclasses.is_dataclass(held):
        return sum(num_bytes(getattr(held, field.name)) for field in dataclasses.fields(held))
    return num_bytes(vars(held)) if hasattr(held, "tensors") else 0


_PEER = "torchvision's references: loader and GeneralizedRCNNTransform"

ROWS = (
    Row(
        name="cold_input_800",
        what="pictures from disk to the network at 800/1333, for the first time",
        against=_PEER,
        measure=partial(_speed, 800, 1333, False),
        at_least=4,
        stretch=10,
    ),
    Row(
        name="cold_input_320",
        what="the same at 320/533",
        against=_PEER,
        measure=partial(_speed, 320, 533, False),
        at_least=4,
        stretch=8,
    ),
    Row(
        name="warm_input_800",
        what="pictures from the machine's store to the network at 800/1333",
        against=_PEER,
        measure=partial(_speed, 800, 1333, True),
        at_least=15,
        stretch=28,
    ),
    Row(
        name="warm_input_320",
        what="the same at 320/533",
        against=_PEER,
        measure=partial(_speed, 320, 533, True),
        at_least=15,
        stretch=28,
    ),
    Row(
        name="loader_bytes",
        what="bytes of a picture and its targets that leave a loader's process",
        against="torchvision's references: float picture and full-size masks",
        measure=partial(_memory, _leaving),
        at_most=0.5,
    ),
    Row(
        name="batch_bytes",
        what="bytes that a batch holds until the network normalises it",
        against="torchvision's references: after GeneralizedRCNNTransform",
        measure=partial(_memory, _held),
        at_most=0.2,
    ),
)
