"""Nested, seeded parts of a training set: of its pictures, of the instances in each, and of its categories."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from raystudy.data.coco import CocoDataset
from raystudy.errors import DataError
from raystudy.spec.data import DataSpec

_SUBSET_STREAM, _INSTANCE_STREAM, _CATEGORY_STREAM = 7, 8, 9
"""Keep these draws apart from each other and from the data order's, which start from the same seeds."""


def subset_indices(
    num_images: int,
    fraction: float = 1.0,
    count: int | None = None,
    seed: int = 0,
    first: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """The pictures of a part of a data set, in ascending order.

    Subsets of one seed are nested: a smaller one is a prefix of the same permutation, so that the 1% lies within
    the 10%.

    Args:
        num_images: pictures of the whole set.
        fraction: share of it that is taken, rounded to the nearest picture.
        count: number of pictures, instead of a fraction.
        seed: another seed draws other pictures.
        first: pictures that every subset holds, however small; they go before the permutation's others.

    Raises:
        DataError: the part would be empty, larger than the whole, or too small for ``first``.
    """
    wanted = round(num_images * fraction) if count is None else count
    if not 1 <= wanted <= num_images:
        asked = f"{fraction:g} of {num_images}" if count is None else str(count)
        raise DataError(f"a subset of {asked} images has {wanted}, but must have 1 to {num_images}")
    if wanted == num_images:
        return np.arange(num_images, dtype=np.int64)
    permutation = np.random.default_rng((seed, _SUBSET_STREAM)).permutation(num_images)
    if first is not None:
        if wanted < len(first):
            raise DataError(
                f"a stratified subset of {wanted} images cannot hold every category; with seed {seed} it needs "
                f"{len(first)}: take more images, or let categories vanish with stratified=False"
            )
        permutation = np.concatenate([first, permutation[~np.isin(permutation, first)]])
    return np.sort(permutation[:wanted]).astype(np.int64)


def covering_images(dataset: CocoDataset, seed: int) -> NDArray[np.int64]:
    """Pictures that together hold every category that has instances: for each, rarest first, the first picture of
    the seed's permutation that has it, unless one is there already."""
    images = np.repeat(np.arange(len(dataset)), dataset.instance_counts)
    place = np.empty(len(dataset), dtype=np.int64)
    place[np.random.default_rng((seed, _SUBSET_STREAM)).permutation(len(dataset))] = np.arange(len(dataset))
    labels = dataset.all_labels()
    pairs = np.unique(np.stack([labels, images]), axis=1)
    num_images_of = np.bincount(pairs[0], minlength=len(dataset.categories) + 1)
    chosen: list[int] = []
    for label in np.argsort(num_images_of, kind="stable").tolist():
        holders = pairs[1, pairs[0] == label]
        if len(holders) and not np.isin(holders, chosen).any():
            chosen.append(int(holders[np.argmin(place[holders])]))
    return np.array(chosen, dtype=np.int64)


def chosen_labels(num_categories: int, wanted: int, seed: int) -> list[int]:
    """The labels of the first ``wanted`` categories of the seed's order, ascending; fewer lie within more."""
    order = np.random.default_rng((seed, _CATEGORY_STREAM)).permutation(num_categories)
    return sorted((order[:wanted] + 1).tolist())


def capped_instances(dataset: CocoDataset, most: int, seed: int) -> NDArray[np.bool_]:
    """Which instances stay when no picture may have more than ``most``, in the order of ``all_boxes``.

    Which ones is drawn for each annotation alone: a smaller cap keeps a part of what a larger one keeps, whatever
    subset of the pictures is taken.
    """
    numbers, counts = dataset.all_numbers(), dataset.instance_counts
    draws = np.random.default_rng((seed, _INSTANCE_STREAM)).random(int(numbers.max(initial=-1)) + 1)[numbers]
    images = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((draws, images))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    result: NDArray[np.bool_] = rank < most
    return result


def training_part(whole: CocoDataset, data: DataSpec) -> CocoDataset:
    """What the spec asks for of a training set whose categories are chosen already.

    Raises:
        DataError: there is no such part.
    """
    if data.instances_per_image is not None:
        whole = whole.with_instances(capped_instances(whole, data.instances_per_image, data.subset_seed))
    if data.fraction == 1.0 and data.num_images is None:
        return whole
    first = covering_images(whole, data.subset_seed) if data.stratified else None
    return whole.subset(subset_indices(len(whole), data.fraction, data.num_images, data.subset_seed, first))


def statistics_of(dataset: CocoDataset) -> dict[str, Any]:
    """What a data set holds, JSON-ready, for the plan and the trial's record.

    Pictures, instances, instances per picture and per category, categories without any, and what was repaired.
    """
    counts = dataset.instance_counts
    per_category = np.bincount(dataset.all_labels(), minlength=len(dataset.categories) + 1)[1:].tolist()
    of_name: dict[str, int] = dict.fromkeys(dataset.categories, 0)
    for name, count in zip(dataset.categories, per_category, strict=True):
        of_name[name] += count
    return {
        "images": len(dataset),
        "images_without_instances": int((counts == 0).sum()),
        "instances": int(counts.sum()),
        "instances_per_image": {
            "mean": round(float(counts.mean()), 3) if len(counts) else 0.0,
            "median": float(np.median(counts)) if len(counts) else 0.0,
            "max": int(counts.max(initial=0)),
        },
        "instances_per_category": of_name,
        "absent_categories": [name for name, count in of_name.items() if count == 0],
        "repairs": dict(dataset.repairs),
    }
