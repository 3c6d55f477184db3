"""Batches for one rank: the order is the trial's, the rank takes its slice."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from raystudy.data import pulse
from raystudy.data.ahead import ahead
from raystudy.data.batch import Batch, collate
from raystudy.data.coco import CocoDataset
from raystudy.data.order import DataOrder, global_batch
from raystudy.data.picture_store import PictureStore
from raystudy.data.pictures import CACHE_BYTES
from raystudy.data.reader import PictureReader
from raystudy.data.splits import open_split
from raystudy.data.transforms import augmentation_rng, test_sample, train_sample, whole_sample
from raystudy.errors import DataError
from raystudy.spec.trial import TrialSpec

__all__ = ["EvalLoader", "TrainLoader", "global_batch", "open_split"]


class TrainLoader:
    """The training batches of one rank.

    What an iteration holds depends on the trial's seed and the iteration alone, so ``batches`` may start anywhere.
    Pictures without instances are left out, with a keypoint head those without any labelled keypoint, as in Detectron
    (``roidb.filter_for_training``).
    """

    def __init__(
        self,
        dataset: CocoDataset,
        spec: TrialSpec,
        rank: int,
        world: int,
        loader_processes: int = 0,
        store: PictureStore | None = None,
    ) -> None:
        """Batches of ``dataset`` for one of ``world`` ranks.

        Args:
            dataset: the training set, its subset taken.
            spec: the trial.
            rank: 0 to ``world - 1``.
            world: ranks that share the global batch; divides it.
            loader_processes: processes that decode ahead; 0 decodes here and keeps pictures in memory.
            store: the machine's resized pictures; None makes them in each process.

        Raises:
            DataError: no picture is left.
        """
        if spec.global_batch % world or not 0 <= rank < world:
            raise ValueError(f"rank {rank} of {world} cannot share a global batch of {spec.global_batch}")
        has_keypoints = spec.model.keypoint_head is not None
        counts = dataset.labelled_keypoint_counts if has_keypoints else dataset.instance_counts
        self._indices = np.flatnonzero(counts > 0)
        if len(self._indices) == 0:
            wanted = "labelled keypoint" if has_keypoints else "instance"
            raise DataError(f"none of the {len(dataset)} training images of {dataset.annotations} has any {wanted}")
        self._dataset, self._spec, self._loader_processes = dataset, spec, loader_processes
        per_rank = spec.global_batch // world
        self._slots = range(rank * per_rank, (rank + 1) * per_rank)
        is_wide = (dataset.widths >= dataset.heights)[self._indices] if spec.input.aspect_grouping else None
        self._order = DataOrder(spec.seed, len(self._indices), spec.global_batch, is_wide, spec.images_per_worker)
        # Processes that decode ahead end with each call of ``batches``, and would each fill a cache of their own.
        num_sizes = len(set(spec.input.train_short_sides))
        self._read = PictureReader(dataset, in_memory=not loader_processes, num_sizes=num_sizes, store=store)

    @property
    def num_images(self) -> int:
        """Pictures that are trained on."""
        return len(self._indices)

    def batch(self, iteration: int) -> Batch:
        """This rank's part of the global batch of ``iteration`` (from 0)."""
        indices = self._indices[self._order.batch(iteration)]
        spec = self._spec.input
        samples = []
        for slot in self._slots:
            index = int(indices[slot])
            rng = augmentation_rng(self._spec.seed, iteration, slot)
            instances, image_id = self._dataset.instances(index), self._dataset.image_ids[index]
            samples.append(train_sample(self._read(index), instances, spec, image_id, rng))
        return collate(samples, spec.size_divisor)

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """The batches of iterations ``start`` to ``stop - 1``; with loader processes the same bits, decoded ahead."""
        yield from ahead(self.batch, range(start, stop), self._loader_processes)


class EvalLoader:
    """The validation batches of one rank, the same in every pass.

    Batches are made over the whole validation set, then dealt to the ranks, so that padding, which is part of the
    result, does not depend on the number of ranks. Pictures of similar size come together.
    """

    def __init__(
        self,
        dataset: CocoDataset,
        spec: TrialSpec,
        rank: int,
        world: int,
        *,
        whole: bool = False,
        loader_processes: int = 0,
        store: PictureStore | None = None,
    ) -> None:
        """Batches of ``dataset`` for one of ``world`` ranks.

        Args:
            dataset: the validation set.
            spec: gives test size and batch size.
            rank: 0 to ``world - 1``.
            world: ranks that share the batches.
            whole: pictures as they lie on disk instead of the test size, for test-time augmentation.
            loader_processes: processes that decode ahead what is not kept from an earlier pass.
            store: the machine's resized pictures; None makes them in each process.
        """
        order = np.lexsort((np.arange(len(dataset)), dataset.widths, dataset.heights))
        size = spec.evaluation.batch_size
        self._batches = [order[first : first + size] for first in range(0, len(order), size)][rank::world]
        read = PictureReader(dataset, in_memory=False, store=store)  # whole batches are kept instead
        self._load = partial(_eval_batch, dataset, read, spec, self._batches, whole)
        self._loader_processes = loader_processes
        self._kept: dict[int, Batch] = {}
        self._room = CACHE_BYTES

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def num_images(self) -> int:
        """Pictures of this rank."""
        return sum(len(indices) for indices in self._batches)

    def __iter__(self) -> Iterator[Batch]:
        missing = [number for number in range(len(self)) if number not in self._kept]
        made = ahead(self._load, missing, self._loader_processes if len(missing) > 1 else 0)
        wanted = set(missing)
        for number in range(len(self)):
            if number not in wanted:
                pulse.beat()
                yield self._kept[number]
                continue
            batch = next(made)
            if number not in self._kept and batch.images.nbytes <= self._room:
                self._room -= batch.images.nbytes
                self._kept[number] = batch
            yield batch


def _eval_batch(
    dataset: CocoDataset,
    read: PictureReader,
    spec: TrialSpec,
    batches: Sequence[NDArray[np.int64]],
    whole: bool,
    number: int,
) -> Batch:
    samples = []
    for index in batches[number].tolist():
        picture, instances, image_id = read(index), dataset.instances(index), dataset.image_ids[index]
        if whole:
            samples.append(whole_sample(picture, instances, image_id))
        else:
            samples.append(test_sample(picture, instances, spec.input, image_id))
    return collate(samples, spec.input.size_divisor)
