"""From a data spec to the data set of one split."""

import dataclasses
import functools
from pathlib import Path
from typing import Literal

from raystudy.data.coco import CocoDataset
from raystudy.data.index_cache import open_index
from raystudy.data.shapes import render_shapes
from raystudy.data.sources import Source
from raystudy.data.staging import stage
from raystudy.data.subset import chosen_labels, training_part
from raystudy.data.textures import SHAPES
from raystudy.errors import DataError
from raystudy.spec.data import DataSpec, ShapesSpec

Split = Literal["train", "val"]
SPLITS: tuple[Split, Split] = ("train", "val")


def open_split(data: DataSpec, split: Split) -> CocoDataset:
    """The pictures and instances of one split; shapes are rendered on the first call on a machine.

    The subset that the spec asks for is taken of the training set only: validation has always all of its pictures.
    Categories that are left out are left out of both.

    Raises:
        DataError: the annotations cannot be used, with everything that is wrong; or there is no such subset.
    """
    dataset = open_whole(data, split)
    wanted, available = data.num_categories, len(dataset.categories)
    # Without a checksum nothing tells a choice of categories from annotations that were changed.
    if wanted > available or (wanted < available and not data.train_checksum):
        raise DataError(
            f"{dataset.annotations} has {available} categories, but the spec says {wanted}; "
            "was the file changed since the study was planned?"
        )
    if wanted < available:
        dataset = dataset.with_categories(chosen_labels(available, wanted, data.subset_seed))
    return training_part(dataset, data) if split == "train" else dataset


def category_names(data: DataSpec) -> list[str]:
    """The names of the categories that are learned, label 1 first; reads annotations, but renders no shapes.

    Raises:
        DataError: the annotations cannot be used.
    """
    if data.format != "shapes":
        return open_split(data, "val").categories
    return [SHAPES[label - 1] for label in drawn_shapes(data).kinds or range(1, len(SHAPES) + 1)]


def keypoint_skeleton(data: DataSpec) -> list[tuple[int, int]]:
    """Pairs of keypoints, from 0, that a line joins in drawings; renders no shapes, which have none.

    Raises:
        DataError: the annotations cannot be used.
    """
    return [] if data.format == "shapes" or not data.num_keypoints else open_split(data, "val").skeleton


def drawn_shapes(data: DataSpec) -> ShapesSpec:
    """What the generator draws for ``data``: no more instances in a scene and no other categories than it asks for.

    Raises:
        DataError: the generator's parameters are missing.
    """
    if data.shapes is None:
        raise DataError("data format shapes needs the generator's parameters in data.shapes")
    fewer, most = data.num_categories < len(SHAPES), data.instances_per_image
    return dataclasses.replace(
        data.shapes,
        most_objects=data.shapes.most_objects if most is None else min(most, data.shapes.most_objects),
        kinds=tuple(chosen_labels(len(SHAPES), data.num_categories, data.subset_seed)) if fewer else data.shapes.kinds,
    )


@functools.lru_cache(maxsize=4)
def open_split_once(data: DataSpec, split: Split) -> CocoDataset:
    """``open_split``, once a process: the next trial in it finds the decoded pictures."""
    return open_split(data, split)


def open_whole(data: DataSpec, split: Split) -> CocoDataset:
    """One split as its annotations have it, whatever subset the spec asks for.

    Raises:
        DataError: the annotations cannot be used, with everything that is wrong.
    """
    source = split_source(data, split)
    return CocoDataset(source, open_index(source))


def split_source(data: DataSpec, split: Split) -> Source:
    """Where the annotations of one split lie."""
    if data.format == "shapes":
        folder = render_shapes(drawn_shapes(data))
        return Source("coco", folder / split, str(folder / f"instances_{split}.json"), split)
    train, val = data.train_annotations, data.val_annotations
    own, other, images, checksum = (
        (train, val, data.train_images, data.train_checksum)
        if split == "train"
        else (val, train, data.val_images, data.val_checksum)
    )
    root = stage(data.remote, data.remote_version).folder if data.remote else Path()
    if data.format == "voc":  # Its annotations are named within the devkit.
        return Source("voc", root / images, own, split, checksum, other)
    return Source(data.format, root / images, str(root / own), split, checksum)
