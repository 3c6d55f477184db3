"""PASCAL VOC: a VOCdevkit folder as the content of a COCO json.

VOC's boxes count pixels from 1 and include the last one: ``xmin..xmax`` covers ``xmin - 1`` to ``xmax`` in continuous
coordinates. Difficult objects are marked with ``difficult`` and ``ignore``: they are not trained on, and whether they
are found does not count.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from raystudy.data.annotation_checks import Findings
from raystudy.data.pictures import picture_size
from raystudy.errors import DataError

YEARS_OF_PAPER = ("VOC2007", "VOC2012")
PAPER_SETS = ("VOC2007/trainval+VOC2012/train", "VOC2012/val")
"""What He et al. train on and evaluate on (appendix)."""


@dataclass(frozen=True, slots=True)
class VocSets:
    """The image sets of both splits: ``YEAR/SET``, several joined with ``+``."""

    train: str
    val: str


@dataclass(frozen=True, slots=True)
class _Picture:
    """One annotated picture."""

    file_name: str
    height: int
    width: int
    objects: list[tuple[str, list[float], bool]]
    """Name, COCO box x, y, width, height, and whether it is difficult."""


def find_devkit(root: Path) -> Path | None:
    """The folder that holds the years: ``root``, the ``VOCdevkit`` in it, or its parent when ``root`` is a year."""
    for devkit in (root / "VOCdevkit", root):
        if _years(devkit):
            return devkit
    return root.parent if _is_year(root) else None


def find_sets(devkit: Path, only: str = "") -> VocSets:
    """Which image sets are trained on and which are evaluated.

    With VOC2007 and VOC2012 the paper's: 2007 trainval and 2012 train, evaluated on 2012 val. Otherwise, over all
    years, train and val; where there is no such pair, trainval and test.

    Args:
        devkit: the folder that holds the years.
        only: one year, to leave out all others.

    Raises:
        DataError: there are no image sets for both splits.
    """
    years = [only] if only else _years(devkit)
    if set(YEARS_OF_PAPER) <= set(years):
        return VocSets(*PAPER_SETS)
    for train, val in (("train", "val"), ("trainval", "test")):
        found = [
            [f"{year}/{name}" for year in years if _set_file(devkit, year, name).is_file()] for name in (train, val)
        ]
        if all(found):
            return VocSets("+".join(found[0]), "+".join(found[1]))
    raise DataError(
        f"{devkit} has no image sets for both splits: looked for train and val, then for trainval and test, in "
        + ", ".join(f"{year}/ImageSets/Main" for year in years)
    )


def read_voc(devkit: Path, sets: str, all_sets: Sequence[str]) -> dict[str, Any]:
    """The pictures and objects of some image sets, as the content of a COCO json; pictures are numbered from 1.

    Args:
        devkit: the folder that holds the years; ``file_name`` is relative to it.
        sets: such as ``VOC2007/trainval+VOC2012/train``.
        all_sets: of both splits: categories are the names in all of them, in alphabetical order.

    Raises:
        DataError: everything that is wrong with sets and files.
    """
    findings = Findings()
    pictures = _read_pictures(devkit, sets, findings)
    names = {name for picture in pictures for name, _, _ in picture.objects}
    for others in all_sets:
        if others != sets:
            names |= {name for picture in _read_pictures(devkit, others, findings) for name, _, _ in picture.objects}
    problems = findings.texts()
    if problems:
        raise DataError([f"{devkit}: {problem}" for problem in problems])
    category_ids = {name: number for number, name in enumerate(sorted(names), 1)}
    annotations: list[dict[str, Any]] = []
    for image_id, picture in enumerate(pictures, 1):
        for name, box, is_difficult in picture.objects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category_ids[name],
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                    "ignore": int(is_difficult),
                    "difficult": int(is_difficult),
                }
            )
    return {
        "images": [
            {"id": n, "file_name": picture.file_name, "height": picture.height, "width": picture.width}
            for n, picture in enumerate(pictures, 1)
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in category_ids.items()],
    }


def voc_checksum(devkit: Path, sets: str, all_sets: Sequence[str]) -> str:
    """``voc-`` and 16 hex digits over the annotations that both splits list: their names, order and bytes.

    Those of the other split count too, since they may add categories.
    """
    digest = hashlib.sha256()
    for chosen in dict.fromkeys((sets, *all_sets)):
        digest.update(b"set\n")
        for year, name in _listed(devkit, chosen, Findings()):
            path = _annotation_file(devkit, year, name)
            digest.update(f"{year}/{name}\n".encode())
            digest.update(path.read_bytes() if path.is_file() else b"missing")
    return f"voc-{digest.hexdigest()[:16]}"


def annotation_bytes(devkit: Path, sets: str) -> int:
    """Size of the annotations, bytes, about: that of the first times their number."""
    listed = _listed(devkit, sets, Findings())
    first = _annotation_file(devkit, *listed[0]) if listed else None
    return len(listed) * first.stat().st_size if first is not None and first.is_file() else 0


def _read_pictures(devkit: Path, sets: str, findings: Findings) -> list[_Picture]:
    files: dict[str, dict[str, str]] = {}
    pictures = []
    for year, name in _listed(devkit, sets, findings):
        if year not in files:
            folder = devkit / year / "JPEGImages"
            files[year] = {Path(file).stem: file for file in os.listdir(folder)} if folder.is_dir() else {}
        file_name = f"{year}/JPEGImages/{files[year].get(name, f'{name}.jpg')}"
        picture = _read_picture(devkit, year, name, file_name, findings)
        if picture is not None:
            pictures.append(picture)
    return pictures


def _read_picture(devkit: Path, year: str, name: str, file_name: str, findings: Findings) -> _Picture | None:
    record, path = f"{year}/Annotations/{name}.xml", _annotation_file(devkit, year, name)
    try:
        tree = ElementTree.fromstring(path.read_bytes())
    except FileNotFoundError:
        findings.add("annotation files of listed pictures are not there", record, "take them out of the image set")
        return None
    except (ElementTree.ParseError, OSError, ValueError) as e:
        findings.add("annotation files are no readable XML", f"{record} ({e})", "mend them")
        return None
    height, width = (_whole(tree.findtext(f"size/{side}")) for side in ("height", "width"))
    if min(height, width) < 1:
        height, width = picture_size(devkit / file_name) or (0, 0)
    objects = []
    for number, found in enumerate(tree.iterfind("object"), 1):
        parsed = _read_object(found)
        if parsed is None:
            remedy = "each needs a name and a bndbox of four finite numbers"
            findings.add("objects lack name or box", f"{record} (object {number})", remedy)
        else:
            objects.append(parsed)
    return _Picture(file_name, height, width, objects)


def _read_object(found: ElementTree.Element) -> tuple[str, list[float], bool] | None:
    name = (found.findtext("name") or "").strip()
    try:
        corners = [float(found.findtext(f"bndbox/{side}") or "nan") for side in ("xmin", "ymin", "xmax", "ymax")]
        is_difficult = float(found.findtext("difficult") or 0) != 0
    except ValueError:
        return None
    x1, y1, x2, y2 = corners
    if not name or not all(abs(corner) < float("inf") for corner in corners):
        return None
    return name, [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1], is_difficult


def _listed(devkit: Path, sets: str, findings: Findings) -> list[tuple[str, str]]:
    """Year and name of every picture of the sets, in their order."""
    listed: dict[tuple[str, str], None] = {}
    for chosen in sets.split("+"):
        year, _, name = chosen.partition("/")
        path = _set_file(devkit, year, name)
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, ValueError):
            findings.add("image sets cannot be read", str(path.relative_to(devkit)), "each is a list of names")
            continue
        for picture in (line.split()[0] for line in lines if line.strip()):
            if (year, picture) in listed:
                findings.add("pictures are listed twice", f"{year}/{picture}", "list each once")
            listed[(year, picture)] = None
    if not listed:
        findings.add("image sets are empty", sets, "list at least one picture")
    return list(listed)


def _years(devkit: Path) -> list[str]:
    return sorted(folder.name for folder in devkit.glob("*/") if _is_year(folder)) if devkit.is_dir() else []


def _is_year(folder: Path) -> bool:
    return (folder / "ImageSets" / "Main").is_dir() and (folder / "Annotations").is_dir()


def _set_file(devkit: Path, year: str, name: str) -> Path:
    return devkit / year / "ImageSets" / "Main" / f"{name}.txt"


def _annotation_file(devkit: Path, year: str, name: str) -> Path:
    return devkit / year / "Annotations" / f"{name}.xml"


def _whole(text: str | None) -> int:
    try:
        return int(float(text or 0))
    except (ValueError, OverflowError):
        return 0
