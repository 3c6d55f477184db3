"""YOLO folders, as ultralytics has them: a data.yaml, pictures, and a text file of labels beside each.

A label is a line ``class x y width height`` (centre and size) or ``class x1 y1 x2 y2 x3 y3 …`` (an outline), as shares
of the picture's width and height. A picture's labels lie where its path has ``labels`` for ``images`` and ``.txt`` for
its suffix; without that file it has no objects.
"""

import hashlib
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from raystudy.data.annotation_checks import Findings
from raystudy.data.pictures import picture_size
from raystudy.errors import DataError

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""Of files that are taken for pictures."""

LARGEST_SHARE = 2.0
"""Coordinates beyond this are pixels, not shares; what lies a little outside is clipped, as in other formats."""


@dataclass(frozen=True, slots=True)
class YoloFolder:
    """What a data.yaml says."""

    root: Path
    """What its pictures are relative to."""

    names: dict[int, str]
    """By class number."""

    pictures: dict[str, list[Path]]
    """Of ``train`` and ``val``, in order."""


def find_yaml(root: Path) -> Path | None:
    """The data.yaml of a folder, or the folder itself when it is such a file."""
    if root.suffix in (".yaml", ".yml"):
        return root if root.is_file() else None
    named = [root / name for name in ("data.yaml", "data.yml", "dataset.yaml")]
    return next((path for path in named if path.is_file()), None)


def read_yaml(path: Path) -> YoloFolder:
    """The pictures and classes that a data.yaml lists.

    Raises:
        DataError: everything that is wrong with it.
    """
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as e:
        raise DataError(f"{path} is no readable yaml ({e})") from e
    if not isinstance(said, dict):
        raise DataError(f"{path} holds no mapping; it needs train, val and names")
    problems = [f"{path} lacks {key}" for key in ("train", "val", "names") if not said.get(key)]
    if said.get("kpt_shape"):
        problems.append(f"{path} has keypoints (kpt_shape), which are read from COCO jsons only; convert it")
    names = said.get("names") or {}
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(isinstance(key, int) for key in names):
        problems.append(f"{path}: names must be a list, or map class numbers to names")
    elif "nc" in said and said["nc"] != len(names):
        problems.append(f"{path} says nc: {said['nc']}, but has {len(names)} names")
    if problems:
        raise DataError(problems)
    root = _root(path, said)
    pictures = {split: _pictures(root, said[split], split, path, problems) for split in ("train", "val")}
    if problems:
        raise DataError(problems)
    return YoloFolder(root, {number: str(name) for number, name in sorted(names.items())}, pictures)


def read_yolo(path: Path, split: str) -> dict[str, Any]:
    """One split of a data.yaml as the content of a COCO json; categories keep their class numbers as ids.

    Raises:
        DataError: everything that is wrong.
    """
    folder = read_yaml(path)
    findings, repairs = Findings(), Counter[str]()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, picture in enumerate(folder.pictures[split], 1):
        name = _relative(picture, folder.root)
        size = picture_size(picture)
        if size is None:
            findings.add("pictures cannot be read", name, "replace or remove them")
            continue
        images.append({"id": image_id, "file_name": name, "height": size[0], "width": size[1]})
        for shares, category in _labels(picture, folder, findings, repairs):
            label = {"id": len(annotations) + 1, "image_id": image_id, "category_id": category, "iscrowd": 0}
            annotations.append(label | _placed(shares, *size))
    problems = findings.texts()
    if problems:
        raise DataError([f"{path} ({split}): {problem}" for problem in problems])
    categories = [{"id": number, "name": name} for number, name in folder.names.items()]
    return {"images": images, "annotations": annotations, "categories": categories, "repairs": dict(repairs)}


def yolo_checksum(path: Path, split: str) -> str:
    """``yolo-`` and 16 hex digits over classes, the pictures' names in order, and their labels."""
    folder = read_yaml(path)
    digest = hashlib.sha256(repr(sorted(folder.names.items())).encode())
    for picture in folder.pictures[split]:
        labels = label_file(picture)
        digest.update(f"\n{_relative(picture, folder.root)}\n".encode())
        digest.update(labels.read_bytes() if labels.is_file() else b"none")
    return f"yolo-{digest.hexdigest()[:16]}"


def label_bytes(path: Path, split: str) -> int:
    """Size of the labels of a split, bytes."""
    files = [label_file(picture) for picture in read_yaml(path).pictures[split]]
    return sum(file.stat().st_size for file in files if file.is_file())


def label_file(picture: Path) -> Path:
    """Where a picture's labels lie: the last ``images`` of its path becomes ``labels``."""
    parts = list(picture.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _root(path: Path, said: dict[str, Any]) -> Path:
    """``path`` of the yaml where that is a folder, from here or beside the file; else the folder of the file."""
    stated = said.get("path")
    candidates = [path.parent / str(stated)] if stated else []  # An absolute path stays what it is.
    return next((folder.resolve() for folder in candidates if folder.is_dir()), path.parent.resolve())


def _pictures(root: Path, stated: Any, split: str, path: Path, problems: list[str]) -> list[Path]:
    found: list[Path] = []
    for place in stated if isinstance(stated, list) else [stated]:
        # Exports say ../train/images where train/images lies beside the file.
        candidates = [root / str(place), root / str(place).removeprefix("../")]
        chosen = next((candidate for candidate in candidates if candidate.exists()), None)
        if chosen is None:
            problems.append(f"{path}: {split} is {place}, but {candidates[0]} is not there")
        elif chosen.is_dir():
            found += sorted(file for file in chosen.rglob("*") if file.suffix.lower() in SUFFIXES)
        else:
            lines = [line.strip() for line in chosen.read_text(encoding="utf-8").split("\n") if line.strip()]
            found += [(chosen.parent if line.startswith("./") else root) / line for line in lines]
    if not found and not problems:
        problems.append(f"{path}: {split} has no pictures ({', '.join(sorted(SUFFIXES))}) in {stated}")
    return found


def _labels(
    picture: Path, folder: YoloFolder, findings: Findings, repairs: Counter[str]
) -> list[tuple[list[float], int]]:
    """The labels of a picture: shares (4 of a box, more of an outline) and class number."""
    path = label_file(picture)
    if not path.is_file():
        return []
    found = []
    seen: set[str] = set()
    for number, line in enumerate(path.read_bytes().decode("utf-8", errors="replace").split("\n"), 1):
        words = line.split()
        if " ".join(words) in seen:
            repairs["repeated labels dropped"] += 1
        elif words:
            label = _parse_line(words, f"{_relative(path, folder.root)} line {number}", folder.names, findings)
            found += [] if label is None else [label]
            seen.add(" ".join(words))
    return found


def _parse_line(
    words: list[str], record: str, names: dict[int, str], findings: Findings
) -> tuple[list[float], int] | None:
    try:
        category, shares = float(words[0]), [float(word) for word in words[1:]]
    except ValueError:
        findings.add("labels are not numbers", record, "mend or remove them")
        return None
    if len(shares) != 4 and (len(shares) < 6 or len(shares) % 2):
        remedy = "a box has four after its class, an outline pairs of three points or more"
        findings.add("labels have too few or too many numbers", f"{record} ({len(words)} numbers)", remedy)
    elif category not in names:
        remedy = f"the classes are {min(names)} to {max(names)}"
        findings.add("labels have an unknown class", f"{record} (class {words[0]})", remedy)
    elif not all(math.isfinite(share) for share in shares):
        findings.add("labels are not finite", record, "mend or remove them")
    elif max(map(abs, shares)) > LARGEST_SHARE:
        findings.add("labels are no shares of width and height", record, "divide pixels by the picture's size")
    else:
        return shares, int(category)
    return None


def _placed(shares: list[float], height: int, width: int) -> dict[str, Any]:
    """Box, area and outline in pixels."""
    if len(shares) > 4:
        ring = [share * (height if place % 2 else width) for place, share in enumerate(shares)]
        left, top, right, bottom = min(ring[::2]), min(ring[1::2]), max(ring[::2]), max(ring[1::2])
        return {"bbox": [left, top, right - left, bottom - top], "segmentation": [ring]}
    x, y, w, h = shares
    return {"bbox": [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]}


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
