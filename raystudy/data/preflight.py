"""What can be refused about data before any training: everything that is wrong, all at once."""

import os
from pathlib import Path

import numpy as np

from raystudy.data.annotation_checks import EXAMPLES
from raystudy.data.coco import CocoDataset
from raystudy.data.splits import SPLITS, open_split, open_whole, split_source
from raystudy.data.subset import subset_indices
from raystudy.errors import DataError
from raystudy.spec.data import DataSpec

SAMPLED_PICTURES = 32
"""Pictures of a split that are decoded unless all are asked for."""


def preflight(
    data: DataSpec, *, needs_masks: bool = False, num_keypoints: int = 0, thorough: bool = False
) -> list[str]:
    """Everything that would stop a trial on this data; empty when nothing would.

    Args:
        data: both splits are checked; the embedded shapes only for their subset.
        needs_masks: the model has a mask head.
        num_keypoints: of the model's keypoint head; 0 without one.
        thorough: decode every picture instead of a sample.
    """
    if data.problems() or data.format == "shapes":
        return data.problems() or _shapes_problems(data, num_keypoints)
    problems: list[str] = []
    opened: list[CocoDataset] = []
    for split in SPLITS:
        try:
            dataset = open_whole(data, split)
        except DataError as e:
            problems += _folder_problems(split_source(data, split).images_dir) + e.problems
            continue
        opened.append(dataset)
        problems += picture_problems(dataset, thorough) + _suitability_problems(dataset, needs_masks, num_keypoints)
    if len(opened) == 2:
        problems += _category_problems(*opened) or _subset_problems(data)
    return list(dict.fromkeys(problems))


def check_annotations(images_dir: Path, annotations: Path, thorough: bool = False) -> list[str]:
    """What is wrong with one COCO split, ready for a ``DataError``: its json, its folder of pictures, its pictures."""
    try:
        dataset = CocoDataset.load(images_dir, annotations)
    except DataError as e:
        return _folder_problems(images_dir) + e.problems
    return picture_problems(dataset, thorough)


def picture_problems(dataset: CocoDataset, thorough: bool = False) -> list[str]:
    """Pictures that are missing, cannot be decoded or have another size than their annotations say.

    Args:
        dataset: all of its pictures are looked for; a sample is decoded.
        thorough: decode every picture.
    """
    problems = _folder_problems(dataset.images_dir)
    if problems:
        return problems
    files = [dataset.file_name(index) for index in range(len(dataset))]
    missing = _missing(dataset.images_dir, files)
    if missing:
        named = ", ".join(missing[:EXAMPLES]) + (", …" if len(missing) > EXAMPLES else "")
        return [
            f"{dataset.annotations}: {len(missing)} of {len(files)} pictures are not in {dataset.images_dir}: {named}"
        ]
    for index in checked_pictures(len(files), thorough):
        try:
            dataset.image(index)
        except DataError as e:
            problems += e.problems
    return problems


def checked_pictures(num_pictures: int, thorough: bool) -> list[int]:
    """The pictures that are decoded: all, or always the same sample."""
    if thorough or num_pictures <= SAMPLED_PICTURES:
        return list(range(num_pictures))
    sampled: list[int] = np.random.default_rng(0).choice(num_pictures, SAMPLED_PICTURES, replace=False).tolist()
    return sorted(sampled)


def _folder_problems(images_dir: Path) -> list[str]:
    if Path(images_dir).is_dir():
        return []
    return [f"folder of pictures {images_dir} is not there; give the folder that file_name is relative to"]


def _missing(images_dir: Path, files: list[str]) -> list[str]:
    """One listing of each folder is faster than asking for each file, above all on shared file systems."""
    listed: dict[str, set[str]] = {}
    missing = []
    for file in files:
        folder, name = os.path.split(file)
        if folder not in listed:
            listed[folder] = _listing(images_dir / folder)
        if name not in listed[folder]:
            missing.append(file)
    return missing


def _listing(folder: Path) -> set[str]:
    return {entry.name for entry in os.scandir(folder) if entry.is_file()} if folder.is_dir() else set()


def _shapes_problems(data: DataSpec, num_keypoints: int) -> list[str]:
    if num_keypoints and num_keypoints != data.num_keypoints:
        own = f"{data.num_keypoints} keypoints" if data.num_keypoints else "no keypoints"
        return [f"these shapes have {own}, but the keypoint head {num_keypoints}; set data.shapes.has_keypoints"]
    return _subset_problems(data)


def _suitability_problems(dataset: CocoDataset, needs_masks: bool, num_keypoints: int) -> list[str]:
    problems = []
    if not dataset.instance_counts.any():
        problems.append(f"{dataset.annotations} has no instances; nothing can be learned or measured")
    elif needs_masks and not dataset.has_masks:
        problems.append(
            f"{dataset.annotations} has no segmentations, which the mask head needs; train without a mask head"
        )
    if num_keypoints and not dataset.num_keypoints:
        problems.append(
            f"{dataset.annotations} has no keypoints, which the keypoint head needs; give data with "
            "person_keypoints_*.json, or train without a keypoint head"
        )
    elif num_keypoints and num_keypoints != dataset.num_keypoints:
        problems.append(
            f"{dataset.annotations} has {dataset.num_keypoints} keypoints, but the keypoint head {num_keypoints}; "
            "set model.keypoint_head.num_keypoints to the data's"
        )
    return problems


def _category_problems(train: CocoDataset, val: CocoDataset) -> list[str]:
    of_train, of_val = (
        dict(zip(split.label_to_category_id.values(), split.categories, strict=True)) for split in (train, val)
    )
    if of_train == of_val:
        return []
    different = sorted(set(of_train.items()) ^ set(of_val.items()))[: 2 * EXAMPLES]
    return [
        f"{train.annotations} and {val.annotations} have different categories, such as {different}; make them the same"
    ]


def _subset_problems(data: DataSpec) -> list[str]:
    """Pictures of the embedded shapes are rendered only where the subset depends on what they hold."""
    try:
        if data.format == "shapes" and data.shapes is not None and not data.stratified:
            subset_indices(data.shapes.num_train, data.fraction, data.num_images, data.subset_seed)
            return []
        part = open_split(data, "train")
    except DataError as e:
        return e.problems
    if part.instance_counts.any():
        return []
    return [f"{part.annotations}: none of the {len(part)} images of the training subset has an instance; take more"]
