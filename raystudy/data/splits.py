"""From a data spec to the data set of one split."""

from pathlib import Path
from typing import Literal

from raystudy.data.coco import CocoDataset
from raystudy.data.index_cache import open_index
from raystudy.data.shapes import render_shapes
from raystudy.data.sources import Source
from raystudy.data.subset import subset_indices
from raystudy.errors import DataError
from raystudy.spec.data import DataSpec

Split = Literal["train", "val"]
SPLITS: tuple[Split, Split] = ("train", "val")


def open_split(data: DataSpec, split: Split) -> CocoDataset:
    """The pictures and instances of one split; shapes are rendered on the first call on a machine.

    The subset that the spec asks for is taken of the training set only: validation is always whole.

    Raises:
        DataError: the annotations cannot be used, with everything that is wrong.
    """
    dataset = open_whole(data, split)
    if len(dataset.categories) != data.num_categories:
        raise DataError(
            f"{dataset.annotations} has {len(dataset.categories)} categories, but the spec says {data.num_categories}; "
            "was the file changed since the study was planned?"
        )
    if split == "val" or (data.fraction == 1.0 and data.num_images is None):
        return dataset
    return dataset.subset(subset_indices(len(dataset), data.fraction, data.num_images, data.subset_seed))


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
        if data.shapes is None:
            raise DataError("data format shapes needs the generator's parameters in data.shapes")
        folder = render_shapes(data.shapes)
        return Source("coco", folder / split, str(folder / f"instances_{split}.json"), split)
    train, val = data.train_annotations, data.val_annotations
    own, other, images, checksum = (
        (train, val, data.train_images, data.train_checksum)
        if split == "train"
        else (val, train, data.val_images, data.val_checksum)
    )
    return Source(data.format, Path(images), own, split, checksum, other if data.format == "voc" else "")
