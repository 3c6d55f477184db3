"""Where the annotations of one split lie, in whichever format, and reading them as the content of a COCO json."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raystudy.data.annotation_checks import content_problems
from raystudy.data.voc import annotation_bytes, read_voc, voc_checksum
from raystudy.data.yolo import label_bytes, read_yolo, yolo_checksum
from raystudy.errors import DataError


@dataclass(frozen=True, slots=True)
class Source:
    """The annotations of one split."""

    format: str
    """``coco``, ``voc`` or ``yolo``."""

    images_dir: Path
    """What ``file_name`` is relative to."""

    annotations: str
    """A COCO json, VOC's image sets (``VOC2007/trainval+VOC2012/train`` in ``images_dir``), or a YOLO data.yaml."""

    split: str = "train"
    checksum: str = ""
    """What the annotations must have; empty takes any."""

    other_sets: str = ""
    """VOC's image sets of the other split: categories are the names in both."""

    @property
    def location(self) -> Path:
        """Where the annotations lie, for people."""
        return self.images_dir / self.annotations if self.format == "voc" else Path(self.annotations)

    def read(self) -> dict[str, Any]:
        """The annotations as the content of a COCO json, not yet checked.

        Raises:
            DataError: they cannot be read, or are not those that the checksum was taken of.
        """
        if self.format == "voc":
            self._expect(self.current_checksum() if self.checksum else "")
            return read_voc(self.images_dir, self.annotations, (self.annotations, self.other_sets))
        if self.format == "yolo":
            self._expect(self.current_checksum() if self.checksum else "")
            return read_yolo(Path(self.annotations), self.split)
        data = _read_bytes(Path(self.annotations))
        self._expect(bytes_checksum(data) if self.checksum else "")
        content: dict[str, Any] = parse_json(data, Path(self.annotations))
        return content

    def read_checked(self) -> dict[str, Any]:
        """As ``read``; everything that is wrong with the content is told.

        Raises:
            DataError: the annotations cannot be used.
        """
        content = self.read()
        problems = content_problems(content)
        if problems:
            raise DataError([f"{self.location}: {problem}" for problem in problems])
        return content

    def current_checksum(self) -> str:
        """Of the annotations as they are now: what identifies them.

        Raises:
            DataError: they cannot be read.
        """
        if self.format == "voc":
            return voc_checksum(self.images_dir, self.annotations, (self.annotations, self.other_sets))
        if self.format == "yolo":
            return yolo_checksum(Path(self.annotations), self.split)
        return file_checksum(Path(self.annotations))

    def num_bytes(self) -> int:
        """Size of the annotations, about."""
        if self.format == "voc":
            return annotation_bytes(self.images_dir, self.annotations)
        path = Path(self.annotations)
        if self.format == "yolo":
            return label_bytes(path, self.split)
        return path.stat().st_size if path.is_file() else 0

    def _expect(self, found: str) -> None:
        if found != self.checksum:
            raise DataError(
                f"{self.location} has checksum {found}, but the study was planned with {self.checksum}: the "
                "annotations were changed; put the old ones back, or plan anew"
            )


def read_json(path: Path) -> Any:
    """A json file's content.

    Raises:
        DataError: it is missing, empty or no json.
    """
    return parse_json(_read_bytes(path), path)


def parse_json(data: bytes, path: Path) -> Any:
    """What the bytes of ``path`` hold.

    Raises:
        DataError: they are empty or no json.
    """
    if not data.strip():
        raise DataError(f"annotations {path} are empty; give a COCO json")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as e:
        raise DataError(f"annotations {path} are no json ({e}); was the file cut off?") from e


def bytes_checksum(data: bytes) -> str:
    """``sha256-`` and the first 16 hex digits of the SHA-256: what identifies a file of annotations."""
    return f"sha256-{hashlib.sha256(data).hexdigest()[:16]}"


def file_checksum(path: Path) -> str:
    """As ``bytes_checksum``, without holding the file in memory.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return f"sha256-{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
    except OSError as e:
        raise _unreadable(path, e) from e


def _read_bytes(path: Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as e:
        raise _unreadable(path, e) from e


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"annotations {path} cannot be read ({error.strerror}); give the path of a COCO json")
