"""Everything about one split but its pixels, as flat arrays: in memory, or mapped from a file that processes share."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raystudy.data.annotations import AnnotationIndex, build_index
from raystudy.data.array_file import map_arrays, write_arrays

INDEX_VERSION = 2
"""Raised when an index of the same annotations comes out otherwise, so that kept ones are made again."""


@dataclass(frozen=True, slots=True)
class SplitIndex:
    """Pictures in the order of the annotations' list, their instances and categories."""

    categories: Sequence[dict[str, Any]]
    """``id``, ``name`` and ``keypoints`` (names), in ascending order of the ids: label 1 first."""

    repairs: dict[str, int]
    """What was dropped or repaired, and how often."""

    image_ids: NDArray[np.int64]
    heights: NDArray[np.int64]
    """Of each picture on disk, pixels."""

    widths: NDArray[np.int64]
    names: NDArray[np.uint8]
    """Every picture's file, relative to the folder of pictures, UTF-8, end to end."""

    name_offsets: NDArray[np.int64]
    """[images + 1], into ``names``."""

    annotations: AnnotationIndex
    path: Path | None = None
    """The file that the arrays are mapped from."""

    def file_name(self, image: int) -> str:
        """The file of a picture, relative to the folder of pictures."""
        return self.names[self.name_offsets[image] : self.name_offsets[image + 1]].tobytes().decode()

    @property
    def has_masks(self) -> bool:
        """Whether instances have masks; those that lack one then have their box."""
        return len(self.annotations.rings) > 1 or len(self.annotations.run_lengths) > 0

    @classmethod
    def build(cls, content: dict[str, Any]) -> "SplitIndex":
        """The index of a checked COCO json."""
        categories = [_category(c) for c in sorted(content["categories"], key=lambda category: int(category["id"]))]
        labels = {category["id"]: label for label, category in enumerate(categories, 1)}
        repairs: Counter[str] = Counter(content.get("repairs", {}))
        annotations = build_index(content, labels, repairs)
        images = content["images"]
        names = [str(image["file_name"]).encode() for image in images]
        return cls(
            categories=categories,
            repairs=dict(repairs),
            image_ids=np.array([image["id"] for image in images], dtype=np.int64),
            heights=np.array([image["height"] for image in images], dtype=np.int64),
            widths=np.array([image["width"] for image in images], dtype=np.int64),
            names=np.frombuffer(b"".join(names), dtype=np.uint8),
            name_offsets=np.cumsum([0, *map(len, names)], dtype=np.int64),
            annotations=annotations,
        )

    def save(self, path: Path) -> None:
        """Write the index to a file that ``load`` maps."""
        arrays = {name: getattr(self, name) for name in _IMAGE_ARRAYS}
        arrays |= {field.name: getattr(self.annotations, field.name) for field in dataclasses.fields(AnnotationIndex)}
        about = {"version": INDEX_VERSION, "categories": list(self.categories), "repairs": self.repairs}
        write_arrays(path, arrays, about)

    @classmethod
    def load(cls, path: Path) -> "SplitIndex":
        """Map an index that ``save`` wrote; nothing is read before it is used.

        Raises:
            BrokenFileError: the file is not whole.
            OSError: it is not there, or cannot be read.
        """
        arrays, about = map_arrays(path)
        pictures = {name: arrays.pop(name) for name in _IMAGE_ARRAYS}
        index = AnnotationIndex(**arrays)
        return cls(about["categories"], about["repairs"], **pictures, annotations=index, path=path)

    def __reduce__(self) -> tuple[Any, ...]:
        """A mapped index travels to another process as its path."""
        if self.path is not None:
            return SplitIndex.load, (self.path,)
        return _rebuild, tuple(getattr(self, field.name) for field in dataclasses.fields(self))


_IMAGE_ARRAYS = ("image_ids", "heights", "widths", "names", "name_offsets")


def _rebuild(*values: Any) -> SplitIndex:
    return SplitIndex(*values)


def _category(given: dict[str, Any]) -> dict[str, Any]:
    """What is used of a category. A skeleton is for drawings only: one that does not fit its keypoints is left out."""
    names = [str(name) for name in given.get("keypoints") or ()]
    skeleton = given.get("skeleton")
    pairs = skeleton if isinstance(skeleton, list) else []
    known = range(1, len(names) + 1)
    fits = all(isinstance(pair, list) and len(pair) == 2 and all(point in known for point in pair) for pair in pairs)
    return {"id": int(given["id"]), "name": str(given["name"]), "keypoints": names, "skeleton": pairs if fits else []}
