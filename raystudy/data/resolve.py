"""What a user calls ``--data``: the embedded shapes, or a folder in which both splits are found.

What a folder holds is told by what lies in it, in this order: a VOCdevkit (or the folder is one), COCO jsons of both
splits, YOLO's data.yaml. A folder that holds several is taken as the first; ``voc:``, ``coco:`` or ``yolo:`` before
its path names another.
"""

import dataclasses
from pathlib import Path
from typing import Literal

from raystudy.data.defaults import DataDefaults, data_defaults
from raystudy.data.index_cache import open_index
from raystudy.data.sources import Source
from raystudy.data.split_index import SplitIndex
from raystudy.data.staging import is_remote, stage
from raystudy.data.voc import find_devkit, find_sets
from raystudy.data.yolo import find_yaml, read_yaml
from raystudy.errors import DataError
from raystudy.spec.data import DataSpec, ShapesSpec
from raystudy.spec.presets import shapes_data

__all__ = ["DataDefaults", "data_defaults", "resolve_data", "resolve_pair", "resolve_voc", "shapes_data"]

SPLIT_NAMES = {
    "train": ("train", "train2017", "train2014"),
    "val": ("val", "val2017", "valid", "val2014", "minival2014"),
}
"""What a split may be called in names of files and folders."""

LOOKED_FOR = 20
"""Pictures that are looked for in each folder; the folder that has most of them is taken."""

FORMATS = ("coco", "voc", "yolo")


def resolve_data(source: str, with_keypoints: bool = False) -> DataSpec:
    """The data that ``source`` names.

    Args:
        source: ``shapes``, or a folder: with ``instances_train.json`` and ``instances_val.json`` (or COCO's
            ``annotations/instances_train2017.json`` and ``instances_val2017.json``), and the pictures in ``images/``,
            ``train/`` and ``val/``, or ``train2017/`` and ``val2017/``; or a VOCdevkit, or a folder that holds one;
            or a YOLO folder with data.yaml, or such a file; or the address of such a folder in an object store
            (``s3://…``, ``gs://…``). ``voc:``, ``coco:`` or ``yolo:`` before a path or an address chooses.
        with_keypoints: take COCO's ``person_keypoints_*.json`` where they lie beside the instances.

    Raises:
        DataError: everything that is wrong.
    """
    if source == "shapes":
        return shapes_data(ShapesSpec())
    prefix, _, rest = source.partition(":")
    wanted, place = (prefix, rest) if prefix in FORMATS else ("", source)
    if is_remote(place):
        return _resolve_remote(place.rstrip("/"), wanted, with_keypoints)
    return _resolve_folder(Path(place).expanduser().resolve(), wanted, with_keypoints)


def _resolve_folder(root: Path, wanted: str, with_keypoints: bool) -> DataSpec:
    described = find_yaml(root)
    if not root.is_dir() and described is None:
        raise DataError(f"data {str(root)!r} is neither a folder nor a data.yaml nor 'shapes', the embedded data set")
    if wanted == "voc" or (not wanted and find_devkit(root) is not None):
        return resolve_voc(root)
    if wanted == "yolo" and described is None:
        raise DataError(f"{root} has no data.yaml")
    if described is not None and (wanted == "yolo" or not (wanted or _has_coco(root))):
        return _resolve_yolo(described)
    return _resolve_coco(root, with_keypoints)


def _resolve_remote(address: str, wanted: str, with_keypoints: bool) -> DataSpec:
    """What lies in an object store; its paths are relative to the copy, which every machine has elsewhere."""
    staged = stage(address)
    found = _resolve_folder(staged.folder, wanted, with_keypoints)
    return dataclasses.replace(
        found,
        remote=address,
        remote_version=staged.version,
        name=address.rsplit("/", 1)[-1],
        train_images=_relative(found.train_images, staged.folder),
        train_annotations=_relative(found.train_annotations, staged.folder),
        val_images=_relative(found.val_images, staged.folder),
        val_annotations=_relative(found.val_annotations, staged.folder),
    )


def _relative(place: str, folder: Path) -> str:
    return str(Path(place).relative_to(folder)) if Path(place).is_relative_to(folder) else place


def resolve_pair(train_images: str, train_json: str, val_images: str, val_json: str) -> DataSpec:
    """A data set from two COCO jsons and their folders of pictures, wherever they lie.

    Raises:
        DataError: everything that is wrong with either.
    """
    remote = [place for place in (train_images, train_json, val_images, val_json) if is_remote(place)]
    if remote:
        raise DataError(
            f"{remote[0]} is in an object store: give --data the address of the folder that holds both splits"
        )
    places = [Path(place).expanduser().resolve() for place in (train_images, train_json, val_images, val_json)]
    problems = [f"folder of pictures {place} is not there" for place in places[::2] if not place.is_dir()]
    train = Source("coco", places[0], str(places[1]), "train")
    val = Source("coco", places[2], str(places[3]), "val")
    return _described("coco", train, val, places[1].stem, problems)


def resolve_voc(root: Path, train_sets: str = "", val_sets: str = "") -> DataSpec:
    """A VOC data set; pictures are relative to the devkit.

    Args:
        root: a VOCdevkit, a folder that holds one, or one of its years, of which then only it is taken.
        train_sets: such as ``VOC2007/trainval+VOC2012/train``; chosen by what is there when not given.
        val_sets: such as ``VOC2012/val``.

    Raises:
        DataError: everything that is wrong.
    """
    devkit = find_devkit(root)
    if devkit is None:
        raise DataError(f"{root} is no VOCdevkit: there is no folder YEAR/ImageSets/Main beside YEAR/Annotations in it")
    if not (train_sets and val_sets):
        found = find_sets(devkit, root.name if devkit == root.parent else "")
        train_sets, val_sets = train_sets or found.train, val_sets or found.val
    train = Source("voc", devkit, train_sets, "train", other_sets=val_sets)
    val = Source("voc", devkit, val_sets, "val", other_sets=train_sets)
    named_by = devkit.parent if devkit.name == "VOCdevkit" else devkit
    return _described("voc", train, val, named_by.name, [])


def _resolve_coco(root: Path, with_keypoints: bool) -> DataSpec:
    problems: list[str] = []
    train = _find_coco(root, "train", with_keypoints, problems)
    val = _find_coco(root, "val", with_keypoints, problems)
    if train is None or val is None:
        raise DataError(problems)
    return _described("coco", train, val, root.name, problems)


def _resolve_yolo(described: Path) -> DataSpec:
    root = read_yaml(described).root
    train, val = (Source("yolo", root, str(described), split) for split in ("train", "val"))
    name = described.parent.name if described.stem in ("data", "dataset") else described.stem
    return _described("yolo", train, val, name, [])


def _described(
    data_format: Literal["coco", "voc", "yolo"], train: Source, val: Source, name: str, problems: list[str]
) -> DataSpec:
    """The data of both sources, once their annotations are known to be usable."""
    opened = [_open(source, problems) for source in (train, val)]
    if problems:
        raise DataError(list(dict.fromkeys(problems)))
    (train, index), (val, _) = (found for found in opened if found is not None)
    return DataSpec(
        format=data_format,
        train_images=str(train.images_dir),
        train_annotations=train.annotations,
        val_images=str(val.images_dir),
        val_annotations=val.annotations,
        train_checksum=train.checksum,
        val_checksum=val.checksum,
        num_categories=len(index.categories),
        num_keypoints=index.annotations.keypoints.shape[1],
        name=name,
    )


def _open(source: Source, problems: list[str]) -> tuple[Source, SplitIndex] | None:
    try:
        known = dataclasses.replace(source, checksum=source.current_checksum())
        return known, open_index(known)
    except DataError as e:
        problems += e.problems
        return None


def _has_coco(root: Path) -> bool:
    return all(any(path.is_file() for path in _coco_candidates(root, split)) for split in SPLIT_NAMES)


def _coco_candidates(root: Path, split: str, with_keypoints: bool = False) -> list[Path]:
    names, kinds = SPLIT_NAMES[split], ("person_keypoints", "instances") if with_keypoints else ("instances",)
    folders = (root, root / "annotations")
    found = [folder / f"{kind}_{name}.json" for kind in kinds for folder in folders for name in names]
    return found + [root / name / "_annotations.coco.json" for name in names]


def _find_coco(root: Path, split: Literal["train", "val"], with_keypoints: bool, problems: list[str]) -> Source | None:
    names, candidates = SPLIT_NAMES[split], _coco_candidates(root, split, with_keypoints)
    annotations = next((path for path in candidates if path.is_file()), None)
    if annotations is None:
        looked = ", ".join(str(candidate.relative_to(root)) for candidate in candidates)
        problems.append(f"{root} has no annotations for {split}: looked for {looked}")
        return None
    opened = _open(Source("coco", root, str(annotations), split), problems)
    if opened is None:
        return None
    index = opened[1]
    files = [index.file_name(image) for image in range(min(LOOKED_FOR, len(index.image_ids)))]
    folders = [root / parent / name for name in names for parent in ("", "images")]
    folders += [root / "images", annotations.parent, root, *sorted(root.glob("VOCdevkit/*/JPEGImages"))]
    held = [sum((folder / file).is_file() for file in files) for folder in folders]
    if not any(held):
        looked = ", ".join(str(folder.relative_to(root)) for folder in folders)
        problems.append(f"the pictures of {annotations} are not there: looked for {files[0]} in {looked} of {root}")
        return None
    images = folders[held.index(max(held))]
    return Source("coco", images, str(annotations), split)
