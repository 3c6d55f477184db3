"""From a data spec to the data set of one split."""

from pathlib import Path
from typing import Literal

from raystudy.data.coco import CocoDataset
from raystudy.data.shapes import render_shapes
from raystudy.data.subset import subset_indices
from raystudy.errors import DataError
from raystudy.spec.data import DataSpec


def open_split(data: DataSpec, split: Literal["train", "val"]) -> CocoDataset:
    """The pictures and instances of one split; shapes are rendered on the first call on a machine.

    The subset that the spec asks for is taken of the training set only: validation is always whole.

    Raises:
        DataError: the annotations cannot be used, with everything that is wrong.
    """
    images_dir, annotations = split_paths(data, split)
    dataset = CocoDataset.load(images_dir, annotations)
    if len(dataset.categories) != data.num_categories:
        raise DataError(
            f"{annotations} has {len(dataset.categories)} categories, but the spec says {data.num_categories}; "
            "was the file changed since the study was planned?"
        )
    if split == "val" or (data.fraction == 1.0 and data.num_images is None):
        return dataset
    return dataset.subset(subset_indices(len(dataset), data.fraction, data.num_images, data.subset_seed))


def split_paths(data: DataSpec, split: Literal["train", "val"]) -> tuple[Path, Path]:
    """The folder of pictures and the json of one split."""
    if data.format == "shapes":
        if data.shapes is None:
            raise DataError("data format shapes needs the generator's parameters in data.shapes")
        folder = render_shapes(data.shapes)
        return folder / split, folder / f"instances_{split}.json"
    if split == "train":
        return Path(data.train_images), Path(data.train_annotations)
    return Path(data.val_images), Path(data.val_annotations)
