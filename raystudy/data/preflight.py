"""What can be refused about data before any training: everything that is wrong, all at once."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from raystudy.data.annotation_checks import EXAMPLES, content_problems
from raystudy.data.coco import read_json
from raystudy.data.pictures import read_picture
from raystudy.data.splits import split_paths
from raystudy.data.subset import subset_indices
from raystudy.errors import DataError
from raystudy.spec.data import DataSpec

SAMPLED_PICTURES = 32
"""Pictures of a split that are decoded unless all are asked for."""


def preflight(data: DataSpec, *, needs_masks: bool = False, thorough: bool = False) -> list[str]:
    """Everything that would stop a trial on this data; empty when nothing would.

    Args:
        data: both splits are checked; the embedded shapes only for their subset.
        needs_masks: the model has a mask head.
        thorough: decode every picture instead of a sample.
    """
    if data.format == "shapes":
        return data.problems() + ([] if data.shapes is None else _subset_problems(data, data.shapes.num_train))
    problems, contents = data.problems(), []
    for split in ("train", "val"):
        images_dir, annotations = split_paths(data, "train" if split == "train" else "val")
        found, content = _check(images_dir, annotations, thorough)
        problems += found
        if not found:
            contents.append((annotations, content))
            problems += _suitability_problems(annotations, content, data, needs_masks)
    if len(contents) == 2:
        problems += _category_problems(*contents)
    if contents and not data.problems():
        problems += _subset_problems(data, len(contents[0][1]["images"]))
    return problems


def check_annotations(images_dir: Path, annotations: Path, thorough: bool = False) -> list[str]:
    """What is wrong with one split, ready for a ``DataError``: its json, its folder of pictures, its pictures."""
    return _check(images_dir, annotations, thorough)[0]


def _check(images_dir: Path, annotations: Path, thorough: bool) -> tuple[list[str], Any]:
    problems = []
    if not Path(images_dir).is_dir():
        problems.append(f"folder of pictures {images_dir} is not there; give the folder that file_name is relative to")
    try:
        content = read_json(annotations)
    except DataError as e:
        return problems + e.problems, None
    found = content_problems(content)
    problems += [f"{annotations}: {problem}" for problem in found]
    if not problems:
        problems += _picture_problems(Path(images_dir), annotations, content["images"], thorough)
    return problems, content


def _picture_problems(images_dir: Path, annotations: Path, images: list[dict[str, Any]], thorough: bool) -> list[str]:
    names = _listing(images_dir)
    unlisted = [image["file_name"] for image in images if image["file_name"] not in names]
    missing = [name for name in unlisted if not (images_dir / name).is_file()]  # It may lie in a folder below.
    if missing:
        named = ", ".join(missing[:EXAMPLES]) + (", …" if len(missing) > EXAMPLES else "")
        return [f"{annotations}: {len(missing)} of {len(images)} pictures are not in {images_dir}: {named}"]
    chosen = images
    if not thorough and len(images) > SAMPLED_PICTURES:
        sampled = np.random.default_rng(0).choice(len(images), SAMPLED_PICTURES, replace=False)
        chosen = [images[index] for index in sorted(sampled.tolist())]
    problems = []
    for image in chosen:
        try:
            read_picture(images_dir / image["file_name"], image["height"], image["width"])
        except DataError as e:
            problems += e.problems
    return problems


def _listing(folder: Path) -> set[str]:
    """One listing is faster than asking for each file, above all on shared file systems."""
    return {entry.name for entry in os.scandir(folder) if entry.is_file()}


def _suitability_problems(annotations: Path, content: dict[str, Any], data: DataSpec, needs_masks: bool) -> list[str]:
    problems = []
    instances = [a for a in content["annotations"] if not a.get("iscrowd")]
    if not instances:
        problems.append(f"{annotations} has no instances; nothing can be learned or measured")
    elif needs_masks and not any(a.get("segmentation") for a in instances):
        problems.append(f"{annotations} has no segmentations, which the mask head needs; train without a mask head")
    if len(content["categories"]) != data.num_categories:
        problems.append(
            f"{annotations} has {len(content['categories'])} categories, but the spec says {data.num_categories}"
        )
    return problems


def _category_problems(train: tuple[Path, dict[str, Any]], val: tuple[Path, dict[str, Any]]) -> list[str]:
    of_train, of_val = ({c["id"]: c["name"] for c in content["categories"]} for _, content in (train, val))
    if of_train == of_val:
        return []
    different = sorted(set(of_train.items()) ^ set(of_val.items()))[: 2 * EXAMPLES]
    return [f"{train[0]} and {val[0]} have different categories, such as {different}; make them the same"]


def _subset_problems(data: DataSpec, num_images: int) -> list[str]:
    try:
        subset_indices(num_images, data.fraction, data.num_images, data.subset_seed)
    except DataError as e:
        return e.problems
    return []
