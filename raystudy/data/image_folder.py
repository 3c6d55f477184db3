"""A folder of labelled pictures, ``train/<class>/…`` and ``val/<class>/…``: ImageNet as people keep it.

Where there is no ``val``, a part of the pictures is held out in its place: the same ones on every machine.
"""

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
HELD_OUT_SHARE = 0.1
"""Of each class, where the folder has no ``val``."""

EXAMPLES = 5
"""Names that a problem lists."""

_ByClass = dict[str, list[str]]
"""Class -> sorted paths of its pictures within the split's folder."""


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

    root: Path
    classes: tuple[str, ...]
    train: LabelledFiles
    val: LabelledFiles
    is_split_off: bool
    """Whether ``val`` is a part of the only pictures that there are."""

    @classmethod
    def open(cls, root: Path) -> "ImageFolder":
        """List the pictures of ``root``; none is read.

        ``root`` holds ``train/<class>/`` and ``val/<class>/``; or ``train/<class>/`` alone, or the classes themselves,
        of which a part is then held out.

        Raises:
            DataError: everything because of which nothing can be learned from it.
        """
        has_splits = any((root / split).is_dir() for split in SPLITS)
        folders = {split: root / split if has_splits else root for split in SPLITS}
        listed = {split: dict(_by_class(folders[split])) for split in SPLITS}
        is_split_off = not has_splits or not (root / "val").is_dir()
        if is_split_off:
            folders["val"] = folders["train"]
            listed = _held_out(listed["train"])
        if problems := _problems(root, folders, listed, is_split_off):
            raise DataError(problems)
        classes = tuple(sorted(listed["train"]))
        train, val = (_files(folders[split], listed[split], classes) for split in SPLITS)
        return cls(root, classes, train, val, is_split_off)

    def checksum(self) -> str:
        """``listing-`` and 16 hex digits: of the names and sizes of all pictures, which tell two sets apart at once."""
        digest = hashlib.sha256()
        for split, files in zip(SPLITS, (self.train, self.val), strict=True):
            for name in files.names.tolist():
                size = os.stat(files.folder / name.decode()).st_size
                digest.update(f"{split}/{name.decode()}\t{size}\n".encode())
        return f"listing-{digest.hexdigest()[:16]}"

    def summary(self) -> str:
        """One line for people."""
        held_out = (
            f"it has no val: {len(self.val):,} pictures ({HELD_OUT_SHARE:.0%} of each class) are held out in its place"
            if self.is_split_off
            else f"{len(self.val):,} to measure on"
        )
        return f"{self.root}: {len(self.classes)} classes, {len(self.train):,} pictures to train on, {held_out}"


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


def _held_out(listed: _ByClass) -> dict[str, _ByClass]:
    """Both splits of one: of each class those whose names have the smallest digests, and at least one of two."""
    split: dict[str, _ByClass] = {"train": {}, "val": {}}
    for name, pictures in listed.items():
        number = max(round(HELD_OUT_SHARE * len(pictures)), 1 if len(pictures) > 1 else 0)
        by_digest = sorted(pictures, key=lambda picture: hashlib.sha256(picture.encode()).digest())
        split["val"] |= {name: sorted(by_digest[:number])} if number else {}
        split["train"][name] = sorted(by_digest[number:])
    return split


def _problems(root: Path, folders: dict[str, Path], listed: dict[str, _ByClass], is_split_off: bool) -> list[str]:
    if not root.is_dir():
        return [f"there is no folder {root}; give one that holds train/<class>/ and val/<class>/"]
    found = []
    for split, classes in listed.items():
        if not classes and not (is_split_off and split == "val"):
            found.append(f"{folders[split]} has no folders of classes; pictures lie in {split}/<class>/")
        elif empty := [name for name, names in classes.items() if not names]:
            found.append(f"{folders[split]} has classes without pictures ({', '.join(SUFFIXES)}): {_some(empty)}")
    if len(listed["train"]) == 1:
        found.append(
            f"{folders['train']} has one class, {_some(list(listed['train']))}; there is nothing to tell apart"
        )
    if foreign := sorted(set(listed["val"]) - set(listed["train"])):
        found.append(f"{root / 'val'} has classes that train lacks: {_some(foreign)}")
    if not found and not any(listed["val"].values()):
        found.append(f"{root} has one picture a class, so that none can be held out; give a folder val/<class>/")
    return found


def _some(names: list[str]) -> str:
    more = f" and {len(names) - EXAMPLES} more" if len(names) > EXAMPLES else ""
    return ", ".join(names[:EXAMPLES]) + more


def _files(folder: Path, by_class: _ByClass, classes: tuple[str, ...]) -> LabelledFiles:
    names = [name.encode() for label in classes for name in by_class.get(label, ())]
    counts = [len(by_class.get(label, ())) for label in classes]
    return LabelledFiles(folder, np.array(names, dtype=np.bytes_), np.repeat(np.arange(len(classes)), counts))
