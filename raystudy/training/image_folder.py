"""A folder of labelled pictures, ``train/<class>/…`` and ``val/<class>/…``: ImageNet as people keep it."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raystudy.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
SPLITS = ("train", "val")
EXAMPLES = 5
"""Names that a problem lists."""


@dataclass(frozen=True, slots=True)
class LabelledFiles:
    """The pictures of one split, sorted by class and name."""

    folder: Path
    names: NDArray[np.bytes_]
    """[N], paths within ``folder`` in UTF-8: one block of memory, which loader processes share."""

    labels: NDArray[np.int64]
    """[N], index into the classes."""

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        """Of picture ``index``."""
        return self.folder / bytes(self.names[index]).decode()


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """Both splits and the classes, in the order of their labels."""

    classes: tuple[str, ...]
    train: LabelledFiles
    val: LabelledFiles

    @classmethod
    def open(cls, root: Path) -> "ImageFolder":
        """List the pictures of ``root``; none is read.

        Raises:
            DataError: everything because of which nothing can be learned from it.
        """
        listed = {split: dict(_by_class(root / split)) for split in SPLITS}
        classes = tuple(sorted(listed["train"]))
        if problems := _problems(root, listed):
            raise DataError(problems)
        return cls(classes, *(_files(root / split, listed[split], classes) for split in SPLITS))


def image_folder_checksum(root: Path) -> str:
    """``listing-`` and 16 hex digits: of the names and sizes of all pictures, which tell two sets apart at once.

    Raises:
        DataError: ``root`` has no pictures to train on.
    """
    digest = hashlib.sha256()
    count = 0
    for split in SPLITS:
        for name, names in _by_class(root / split):
            for picture in names:
                size = os.stat(root / split / picture).st_size
                digest.update(f"{split}/{picture}\t{size}\n".encode())
                count += split == "train" and bool(name)
    if not count:
        raise DataError(f"{root} has no pictures in train/<class>/; give the folder that holds train/ and val/")
    return f"listing-{digest.hexdigest()[:16]}"


def _by_class(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Each class with the sorted paths of its pictures within ``folder``; folders in a class belong to it."""
    if not folder.is_dir():
        return
    for name in sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")):
        found = [
            (Path(parent) / file).relative_to(folder).as_posix()
            for parent, _, files in os.walk(folder / name, followlinks=True)
            for file in files
            if file.lower().endswith(SUFFIXES) and not file.startswith(".")
        ]
        yield name, sorted(found)


def _problems(root: Path, listed: dict[str, dict[str, list[str]]]) -> list[str]:
    found = []
    for split, classes in listed.items():
        if not classes:
            found.append(f"{root / split} has no folders of classes; pictures lie in {split}/<class>/")
        elif empty := [name for name, names in classes.items() if not names]:
            found.append(f"{root / split} has classes without pictures ({', '.join(SUFFIXES)}): {_some(empty)}")
    if len(listed["train"]) == 1:
        found.append(f"{root / 'train'} has one class, {_some(list(listed['train']))}; there is nothing to tell apart")
    if foreign := sorted(set(listed["val"]) - set(listed["train"])):
        found.append(f"{root / 'val'} has classes that train lacks: {_some(foreign)}")
    return found


def _some(names: list[str]) -> str:
    more = f" and {len(names) - EXAMPLES} more" if len(names) > EXAMPLES else ""
    return ", ".join(names[:EXAMPLES]) + more


def _files(folder: Path, by_class: dict[str, list[str]], classes: tuple[str, ...]) -> LabelledFiles:
    names = [name.encode() for label in classes for name in by_class.get(label, ())]
    counts = [len(by_class.get(label, ())) for label in classes]
    return LabelledFiles(folder, np.array(names, dtype=np.bytes_), np.repeat(np.arange(len(classes)), counts))
