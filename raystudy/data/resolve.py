"""What a user calls ``--data``: the embedded shapes, or a folder in which both splits are found."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from raystudy.data.annotation_checks import content_problems
from raystudy.data.coco import read_json
from raystudy.data.defaults import DataDefaults, data_defaults
from raystudy.data.textures import SHAPES
from raystudy.errors import DataError
from raystudy.spec.data import DataSpec, ShapesSpec

__all__ = ["DataDefaults", "data_defaults", "file_checksum", "resolve_data", "shapes_data"]

SPLIT_NAMES = {
    "train": ("train", "train2017", "train2014"),
    "val": ("val", "val2017", "valid", "val2014", "minival2014"),
}
"""What a split may be called in names of files and folders."""


@dataclass(frozen=True, slots=True)
class _Split:
    images: Path
    annotations: Path
    num_categories: int


def resolve_data(source: str) -> DataSpec:
    """The data that ``source`` names.

    Args:
        source: ``shapes``, or a folder with ``instances_train.json`` and ``instances_val.json`` (or COCO's
            ``annotations/instances_train2017.json`` and ``instances_val2017.json``), and the pictures in ``images/``,
            ``train/`` and ``val/``, or ``train2017/`` and ``val2017/``.

    Raises:
        DataError: everything that is wrong.
    """
    if source == "shapes":
        return shapes_data(ShapesSpec())
    root = Path(source).expanduser().resolve()
    if not root.is_dir():
        raise DataError(f"data {source!r} is neither a folder nor 'shapes', the embedded data set")
    problems: list[str] = []
    train, val = _find_split(root, "train", problems), _find_split(root, "val", problems)
    if train is None or val is None or problems:
        raise DataError(problems)
    return DataSpec(
        format="coco",
        train_images=str(train.images),
        train_annotations=str(train.annotations),
        val_images=str(val.images),
        val_annotations=str(val.annotations),
        train_checksum=file_checksum(train.annotations),
        val_checksum=file_checksum(val.annotations),
        num_categories=train.num_categories,
        name=root.name,
    )


def shapes_data(shapes: ShapesSpec) -> DataSpec:
    """The embedded data set as the data of a trial."""
    return DataSpec(
        format="shapes",
        train_checksum=shapes.checksum("train"),
        val_checksum=shapes.checksum("val"),
        num_categories=len(SHAPES),
        shapes=shapes,
        name="shapes",
    )


def file_checksum(path: Path) -> str:
    """``sha256-`` and the first 16 hex digits of the file's SHA-256: what identifies annotations."""
    with path.open("rb") as file:
        return f"sha256-{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"


def _find_split(root: Path, split: str, problems: list[str]) -> _Split | None:
    names = SPLIT_NAMES[split]
    candidates = [folder / f"instances_{name}.json" for folder in (root, root / "annotations") for name in names]
    candidates += [root / name / "_annotations.coco.json" for name in names]
    annotations = next((path for path in candidates if path.is_file()), None)
    if annotations is None:
        looked = ", ".join(str(candidate.relative_to(root)) for candidate in candidates)
        problems.append(f"{root} has no annotations for {split}: looked for {looked}")
        return None
    try:
        content = read_json(annotations)
    except DataError as e:
        problems += e.problems
        return None
    found = content_problems(content)
    if found:
        problems += [f"{annotations}: {problem}" for problem in found]
        return None
    first = str(content["images"][0]["file_name"])
    folders = [root / parent / name for name in names for parent in ("", "images")]
    folders += [root / "images", annotations.parent, root, *sorted(root.glob("VOCdevkit/*/JPEGImages"))]
    images = next((folder for folder in folders if (folder / first).is_file()), None)
    if images is None:
        looked = ", ".join(str(folder.relative_to(root)) for folder in folders)
        problems.append(f"the pictures of {annotations} are not there: looked for {first} in {looked} of {root}")
        return None
    return _Split(images, annotations, len(content["categories"]))
