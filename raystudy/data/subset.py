"""Nested, seeded parts of a training set."""

import numpy as np
from numpy.typing import NDArray

from raystudy.errors import DataError

_SUBSET_STREAM = 7
"""Keeps these draws apart from the data order's, which start from the same seeds."""


def subset_indices(
    num_images: int, fraction: float = 1.0, count: int | None = None, seed: int = 0
) -> NDArray[np.int64]:
    """The pictures of a part of a data set, in ascending order.

    Subsets of one seed are nested: a smaller one is a prefix of the same permutation, so that the 1% lies within
    the 10%.

    Args:
        num_images: pictures of the whole set.
        fraction: share of it that is taken, rounded to the nearest picture.
        count: number of pictures, instead of a fraction.
        seed: another seed draws other pictures.

    Raises:
        DataError: the part would be empty or larger than the whole.
    """
    wanted = round(num_images * fraction) if count is None else count
    if not 1 <= wanted <= num_images:
        asked = f"{fraction:g} of {num_images}" if count is None else str(count)
        raise DataError(f"a subset of {asked} images has {wanted}, but must have 1 to {num_images}")
    if wanted == num_images:
        return np.arange(num_images, dtype=np.int64)
    permutation = np.random.default_rng((seed, _SUBSET_STREAM)).permutation(num_images)
    return np.sort(permutation[:wanted]).astype(np.int64)
