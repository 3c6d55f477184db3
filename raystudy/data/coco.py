"""Any data set in COCO's instances format: json in, pictures and instances out."""

import json
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raystudy.data.annotation_checks import content_problems
from raystudy.data.annotations import AnnotationIndex, build_index, mask_box, parse_outline
from raystudy.data.instances import Instances
from raystudy.data.masks import CompactMasks, Outline
from raystudy.data.pictures import PictureCache, read_picture
from raystudy.errors import DataError


class CocoDataset:
    """The pictures and instances of one split, in the order of the json's images.

    Category ids may have gaps: labels are 1 to K in ascending order of the ids. Crowd regions are no training
    instances, but ``ground_truth`` has them. Masks stay polygons or run lengths.
    """

    def __init__(self, images_dir: Path, annotations: Path, content: dict[str, Any]) -> None:
        """A data set from a checked json; use ``load``."""
        self.images_dir, self.annotations = images_dir, annotations
        categories = sorted(content["categories"], key=lambda category: int(category["id"]))
        self.categories: list[str] = [str(category["name"]) for category in categories]
        self.label_to_category_id: dict[int, int] = {n: int(c["id"]) for n, c in enumerate(categories, 1)}
        self.repairs: dict[str, int] = {}
        """What was dropped or repaired, and how often."""
        counted: Counter[str] = Counter()
        labels = {category_id: label for label, category_id in self.label_to_category_id.items()}
        self._index: AnnotationIndex = build_index(content, labels, counted)
        self.repairs.update(counted)
        images = content["images"]
        self._image_ids = np.array([image["id"] for image in images], dtype=np.int64)
        self._file_names: list[str] = [str(image["file_name"]) for image in images]
        self._heights = np.array([image["height"] for image in images], dtype=np.int64)
        self._widths = np.array([image["width"] for image in images], dtype=np.int64)
        self._keypoint_mirror = _keypoint_mirror(categories)
        self._chosen = np.arange(len(images), dtype=np.int64)
        self._pictures = PictureCache()

    @classmethod
    def load(cls, images_dir: Path, annotations: Path) -> "CocoDataset":
        """Read and check a json.

        Raises:
            DataError: the json is missing or cannot be used, with everything that is wrong with it.
        """
        content = read_json(annotations)
        problems = content_problems(content)
        if problems:
            raise DataError([f"{annotations}: {problem}" for problem in problems])
        return cls(Path(images_dir), Path(annotations), content)

    def subset(self, indices: NDArray[np.int64]) -> "CocoDataset":
        """A part of this data set, sharing its index; pictures are renumbered from 0."""
        part = object.__new__(type(self))
        part.__dict__.update({key: value for key, value in self.__dict__.items() if key != "image_ids"})
        part._chosen = self._chosen[indices]
        return part

    def __len__(self) -> int:
        return len(self._chosen)

    @cached_property
    def image_ids(self) -> list[int]:
        """Of each picture, as in the json."""
        return [int(image_id) for image_id in self._image_ids[self._chosen]]

    @property
    def heights(self) -> NDArray[np.int64]:
        """Of each picture on disk, pixels."""
        return self._heights[self._chosen]

    @property
    def widths(self) -> NDArray[np.int64]:
        """Of each picture on disk, pixels."""
        return self._widths[self._chosen]

    @property
    def has_masks(self) -> bool:
        """Whether instances have masks, so that a mask head can be trained."""
        return self._index.has_masks

    @property
    def num_keypoints(self) -> int:
        """Keypoints of an instance; 0 without."""
        return 0 if self._index.keypoints is None else self._index.keypoints.shape[1]

    @property
    def instance_counts(self) -> NDArray[np.int64]:
        """Training instances of each picture."""
        return np.diff(self._index.offsets)[self._chosen]

    def num_instances(self, index: int) -> int:
        """Training instances of picture ``index``."""
        chosen = self._chosen[index]
        return int(self._index.offsets[chosen + 1] - self._index.offsets[chosen])

    def all_boxes(self) -> NDArray[np.float32]:
        """The boxes of all training instances, [instances, 4] xyxy, picture by picture."""
        return self._index.boxes[self._all_instances()]

    def all_labels(self) -> NDArray[np.int64]:
        """The labels of all training instances, picture by picture."""
        return self._index.labels[self._all_instances()]

    def image_path(self, index: int) -> Path:
        """The file of picture ``index``."""
        return Path(self.images_dir, self._file_names[self._chosen[index]])

    def image(self, index: int) -> NDArray[np.uint8]:
        """Picture ``index``, uint8 [H, W, 3] RGB.

        Raises:
            DataError: it is missing, cannot be decoded or has another size than the json says.
        """
        chosen = self._chosen[index]
        return read_picture(self.image_path(index), int(self._heights[chosen]), int(self._widths[chosen]))

    def cached_image(self, index: int) -> NDArray[np.uint8]:
        """As ``image``, but kept in memory up to a bound, for this data set and its subsets. Do not write to it."""
        return self._pictures.get(int(self._chosen[index]), lambda: self.image(index))

    def instances(self, index: int) -> Instances:
        """The training instances of picture ``index``, in its pixels."""
        chosen = self._chosen[index]
        found, first, last = self._index, int(self._index.offsets[chosen]), int(self._index.offsets[chosen + 1])
        masks = CompactMasks([found.outline(i) for i in range(first, last)]) if found.has_masks else None
        keypoints = None if found.keypoints is None else found.keypoints[first:last]
        return Instances(found.boxes[first:last], found.labels[first:last], masks, keypoints, self._keypoint_mirror)

    def ground_truth(self) -> dict[str, Any]:
        """The json as pycocotools takes it, crowds included; what it needs and the file lacks is filled in.

        Read from the file when asked for, since only evaluation needs it.
        """
        content = read_json(self.annotations)
        if len(self) < len(self._image_ids):
            kept = set(self.image_ids)
            content["images"] = [image for image in content["images"] if image["id"] in kept]
            content["annotations"] = [a for a in content["annotations"] if a["image_id"] in kept]
        sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
        _complete(content["annotations"], sizes, self.has_masks)
        return dict(content)

    def _all_instances(self) -> NDArray[np.int64]:
        offsets = self._index.offsets
        parts = [np.arange(offsets[c], offsets[c + 1]) for c in self._chosen]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def read_json(path: Path) -> Any:
    """A json file's content.

    Raises:
        DataError: it is missing, empty or no json.
    """
    try:
        text = Path(path).read_bytes()
    except OSError as e:
        raise DataError(f"annotations {path} cannot be read ({e.strerror}); give the path of a COCO json") from e
    if not text.strip():
        raise DataError(f"annotations {path} are empty; give a COCO json")
    try:
        return json.loads(text)
    except ValueError as e:
        raise DataError(f"annotations {path} are no json ({e}); was the file cut off?") from e


def _complete(annotations: list[dict[str, Any]], sizes: dict[int, tuple[int, int]], has_masks: bool) -> None:
    """Give annotations what pycocotools needs of them, in place."""
    # pycocotools takes a match with annotation 0 for no match.
    first = 1 if any(annotation.get("id") == 0 for annotation in annotations) else 0
    for number, annotation in enumerate(annotations, 1):
        height, width = sizes[annotation["image_id"]]
        outline = parse_outline(annotation.get("segmentation"), height, width)
        if annotation.get("bbox") is None:
            x1, y1, x2, y2 = mask_box(outline)
            annotation["bbox"] = [x1, y1, x2 - x1, y2 - y1]
        x, y, w, h = annotation["bbox"]
        if isinstance(outline, tuple) and has_masks:
            rings = [ring for ring in annotation.get("segmentation") or () if len(ring) >= 6]
            annotation["segmentation"] = rings or [[x, y, x + w, y, x + w, y + h, x, y + h]]
        if annotation.get("area") is None:
            annotation["area"] = _area(outline, height, width) if outline else w * h
        annotation["iscrowd"] = int(annotation.get("iscrowd") or 0)
        annotation["id"] = annotation["id"] + first if "id" in annotation else number


def _area(outline: Outline, height: int, width: int) -> float:
    masks = CompactMasks([outline]).window(width, height)
    return float(masks.sum())


def _keypoint_mirror(categories: Sequence[dict[str, Any]]) -> tuple[int, ...]:
    """For each keypoint the one whose place it takes in a mirror, by their names' ``left`` and ``right``."""
    names: list[str] = max((list(c.get("keypoints") or ()) for c in categories), key=len, default=[])
    swapped = [_swap_sides(name) for name in names]
    return tuple(names.index(other) if other in names else own for own, other in enumerate(swapped))


def _swap_sides(name: str) -> str:
    return name.replace("left", "\0").replace("right", "left").replace("\0", "right")
