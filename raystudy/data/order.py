"""The order of the training data: which pictures an iteration sees, as a pure function.

Pictures are dealt in groups, a group being one worker's batch when wide and tall pictures are kept apart, else one
picture. A round is as many epochs as a group has pictures, so that over a round the groups of either orientation come
out even: every picture is seen equally often, and nothing is dropped, padded or carried over.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

_ORDER_STREAM = 3
"""Keeps these draws apart from others that start from the same seed."""


class DataOrder:
    """The global batches of one trial.

    Its rounds are cached, which changes no answer: ``batch`` is a function of its argument, in any order of calls.
    """

    def __init__(
        self, seed: int, num_images: int, batch: int, is_wide: NDArray[np.bool_] | None = None, group: int = 1
    ) -> None:
        """An order of ``num_images`` pictures.

        Args:
            seed: of the trial.
            num_images: pictures in the training set.
            batch: pictures of one iteration, over all workers.
            is_wide: bool [num_images]: each picture's orientation, when a group is to hold one orientation only.
            group: pictures in a group; divides ``batch``.
        """
        if num_images < 1 or batch < 1 or batch % group:
            raise ValueError(f"no order of {num_images} images in batches of {batch} and groups of {group}")
        # With one orientation all groups would come out in plain order anyway.
        is_mixed = is_wide is not None and bool(is_wide.any()) and not bool(is_wide.all())
        self._is_wide = is_wide if is_mixed else None
        self._group = group if is_mixed else 1
        self._seed, self._num_images, self._batch = seed, num_images, batch
        self._rounds: dict[int, Indices] = {}

    def batch(self, iteration: int) -> Indices:
        """The pictures of one iteration (from 0) over all workers, int64 [batch]; ranks take slices of it."""
        groups = self._batch // self._group
        positions = range(iteration * groups, (iteration + 1) * groups)
        n = self._num_images
        return np.concatenate([self._round(position // n)[position % n] for position in positions])

    def _round(self, number: int) -> Indices:
        """The groups of one round, [num_images, group], in the order in which their last picture comes up."""
        if number not in self._rounds:
            if len(self._rounds) > 1:
                self._rounds.pop(min(self._rounds))
            self._rounds[number] = self._deal(number)
        return self._rounds[number]

    def _deal(self, number: int) -> Indices:
        epochs = range(number * self._group, (number + 1) * self._group)
        rngs = [np.random.default_rng((self._seed, _ORDER_STREAM, epoch)) for epoch in epochs]
        stream = np.concatenate([rng.permutation(self._num_images) for rng in rngs]).astype(np.int64)
        if self._is_wide is None:
            return stream.reshape(-1, self._group)
        wide = self._is_wide[stream]
        positions = [np.flatnonzero(side).reshape(-1, self._group) for side in (wide, ~wide)]
        groups = np.concatenate([stream[p] for p in positions])
        result: Indices = groups[np.argsort(np.concatenate([p[:, -1] for p in positions]))]
        return result


@lru_cache(maxsize=4)
def _plain_order(seed: int, num_images: int, batch: int) -> DataOrder:
    return DataOrder(seed, num_images, batch)


def global_batch(seed: int, iteration: int, num_images: int, batch: int) -> Indices:
    """The pictures of one iteration without regard to orientation, int64 [batch]: permuted anew in every epoch."""
    return _plain_order(seed, num_images, batch).batch(iteration)
