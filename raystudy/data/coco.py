"""A data set of any format, as COCO has them: annotations in, pictures and instances out."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raystudy.data.annotations import mask_box, parse_outline, usable_rings
from raystudy.data.instances import Instances
from raystudy.data.masks import CompactMasks, Outline
from raystudy.data.pictures import PictureCache, read_picture
from raystudy.data.sources import Source
from raystudy.data.split_index import SplitIndex


class CocoDataset:
    """The pictures and instances of one split, in the order of the annotations' list of pictures.

    Category ids may have gaps: labels are 1 to K in ascending order of the ids. Crowd regions and difficult objects
    are no training instances, but ``ground_truth`` has them. Masks stay polygons or run lengths.
    """

    def __init__(self, source: Source, index: SplitIndex) -> None:
        """A data set from the index of its annotations; use ``load`` or ``splits.open_split``."""
        self.source, self._index = source, index
        self._annotations, self._all_annotations = index.annotations, index.annotations
        self._categories = list(index.categories)
        self._keypoint_mirror = _keypoint_mirror(index.categories)
        self._chosen = np.arange(len(index.image_ids), dtype=np.int64)
        self._pictures = PictureCache()

    @classmethod
    def load(cls, images_dir: Path, annotations: Path) -> "CocoDataset":
        """Read and check a COCO json.

        Raises:
            DataError: the json is missing or cannot be used, with everything that is wrong with it.
        """
        source = Source("coco", Path(images_dir), str(annotations))
        return cls(source, SplitIndex.build(source.read_checked()))

    def subset(self, indices: NDArray[np.int64]) -> "CocoDataset":
        """A part of this data set, sharing its index; pictures are renumbered from 0."""
        part = object.__new__(type(self))
        part.__dict__.update({key: value for key, value in self.__dict__.items() if key != "image_ids"})
        part._chosen = self._chosen[indices]
        return part

    def with_categories(self, labels: Sequence[int]) -> "CocoDataset":
        """This data set without all instances of other categories; its labels are 1 to K again.

        Args:
            labels: of the categories that stay, in ascending order.
        """
        new_labels = np.zeros(len(self._categories) + 1, dtype=np.int64)
        new_labels[list(labels)] = np.arange(1, len(labels) + 1)
        relabelled = new_labels[self._annotations.labels]
        part = self._with_instances(np.flatnonzero(relabelled), relabelled[relabelled > 0])
        part._categories = [self._categories[label - 1] for label in labels]
        return part

    def with_instances(self, kept: NDArray[np.bool_]) -> "CocoDataset":
        """This data set without some instances; ``kept`` is in the order of ``all_boxes``."""
        mask = np.zeros(len(self._annotations.labels), dtype=np.bool_)
        mask[self._all_instances()[kept]] = True
        return self._with_instances(np.flatnonzero(mask), self._annotations.labels[mask])

    def _with_instances(self, kept: NDArray[np.int64], labels: NDArray[np.int64]) -> "CocoDataset":
        part = self.subset(np.arange(len(self)))
        part._annotations = self._annotations.selected(kept, labels)
        return part

    def __len__(self) -> int:
        return len(self._chosen)

    @property
    def annotations(self) -> Path:
        """Where the annotations lie, for people."""
        return self.source.location

    @property
    def images_dir(self) -> Path:
        """What ``file_name`` is relative to."""
        return self.source.images_dir

    @property
    def categories(self) -> list[str]:
        """Their names, label 1 first."""
        return [category["name"] for category in self._categories]

    @property
    def label_to_category_id(self) -> dict[int, int]:
        """Label to the id of the annotations."""
        return {label: category["id"] for label, category in enumerate(self._categories, 1)}

    @property
    def repairs(self) -> dict[str, int]:
        """What was dropped or repaired in the whole split, and how often."""
        return self._index.repairs

    @cached_property
    def image_ids(self) -> list[int]:
        """Of each picture, as in the annotations."""
        found: list[int] = self._index.image_ids[self._chosen].tolist()
        return found

    @property
    def heights(self) -> NDArray[np.int64]:
        """Of each picture on disk, pixels."""
        return self._index.heights[self._chosen]

    @property
    def widths(self) -> NDArray[np.int64]:
        """Of each picture on disk, pixels."""
        return self._index.widths[self._chosen]

    @property
    def has_masks(self) -> bool:
        """Whether instances have masks, so that a mask head can be trained."""
        return self._index.has_masks

    @property
    def num_keypoints(self) -> int:
        """Keypoints of an instance; 0 without."""
        return int(self._annotations.keypoints.shape[1])

    @property
    def skeleton(self) -> list[tuple[int, int]]:
        """Pairs of keypoints that a line joins in drawings, as the annotations say; empty when they do not."""
        pairs: list[list[int]] = max((category["skeleton"] for category in self._categories), key=len, default=[])
        return [(one - 1, other - 1) for one, other in pairs]  # COCO counts keypoints from 1

    @property
    def keypoint_mirror(self) -> tuple[int, ...]:
        """Which keypoint each becomes in a mirror: left and right change places."""
        return self._keypoint_mirror

    @property
    def instance_counts(self) -> NDArray[np.int64]:
        """Training instances of each picture."""
        return np.diff(self._annotations.offsets)[self._chosen]

    @property
    def labelled_keypoint_counts(self) -> NDArray[np.int64]:
        """Labelled keypoints (visible or hidden) of the training instances of each picture."""
        labelled = (self._annotations.keypoints[..., 2] > 0).sum(axis=1)
        before = np.concatenate([[0], np.cumsum(labelled)])
        counts: NDArray[np.int64] = np.diff(before[self._annotations.offsets])[self._chosen]
        return counts

    def num_instances(self, index: int) -> int:
        """Training instances of picture ``index``."""
        chosen = self._chosen[index]
        return int(self._annotations.offsets[chosen + 1] - self._annotations.offsets[chosen])

    def all_boxes(self) -> NDArray[np.float32]:
        """The boxes of all training instances, [instances, 4] xyxy, picture by picture."""
        return self._annotations.boxes[self._all_instances()]

    def all_labels(self) -> NDArray[np.int64]:
        """The labels of all training instances, picture by picture."""
        return self._annotations.labels[self._all_instances()]

    def all_numbers(self) -> NDArray[np.int64]:
        """The places of all training instances in the annotations' list, picture by picture."""
        return self._annotations.numbers[self._all_instances()]

    def file_name(self, index: int) -> str:
        """The file of picture ``index``, relative to ``images_dir``."""
        return self._index.file_name(int(self._chosen[index]))

    def image_path(self, index: int) -> Path:
        """The file of picture ``index``."""
        return Path(self.images_dir, self.file_name(index))

    def image(self, index: int) -> NDArray[np.uint8]:
        """Picture ``index``, uint8 [H, W, 3] RGB.

        Raises:
            DataError: it is missing, cannot be decoded or has another size than the annotations say.
        """
        return read_picture(self.image_path(index), *self.size(index))

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of picture ``index``, pixels."""
        chosen = self._chosen[index]
        return int(self._index.heights[chosen]), int(self._index.widths[chosen])

    def kept(self, index: int, size: tuple[int, int], make: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Picture ``index`` at a size, kept in memory up to a bound that this data set and its subsets share.

        Args:
            index: which.
            size: height and width.
            make: what is kept, when it is not kept already. It is not to be written to.
        """
        return self._pictures.get((int(self._chosen[index]), size), make)

    def instances(self, index: int) -> Instances:
        """The training instances of picture ``index``, in its pixels."""
        chosen, found = int(self._chosen[index]), self._annotations
        first, last = found.offsets[chosen : chosen + 2].tolist()
        masks = None
        if self.has_masks:
            height, width = int(self._index.heights[chosen]), int(self._index.widths[chosen])
            masks = CompactMasks([found.outline(i, height, width) for i in range(first, last)])
        keypoints = found.keypoints[first:last] if self.num_keypoints else None
        return Instances(found.boxes[first:last], found.labels[first:last], masks, keypoints, self._keypoint_mirror)

    def ground_truth(self) -> dict[str, Any]:
        """A COCO json as pycocotools takes it, crowds and difficult objects included.

        What pycocotools needs and the annotations lack is filled in. Read from the annotations when asked for, since
        only evaluation needs it.
        """
        content = self.source.read()
        content.pop("repairs", None)
        dropped = np.setdiff1d(self._all_annotations.numbers, self._annotations.numbers)
        kept_images, kept_categories = set(self.image_ids), {category["id"] for category in self._categories}
        for number in dropped.tolist():
            content["annotations"][number] = None
        content["images"] = [image for image in content["images"] if image["id"] in kept_images]
        content["categories"] = [c for c in content["categories"] if c["id"] in kept_categories]
        content["annotations"] = [
            a
            for a in content["annotations"]
            if a is not None and a["image_id"] in kept_images and a["category_id"] in kept_categories
        ]
        sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
        _complete(content["annotations"], sizes, self.has_masks)
        return content

    def _all_instances(self) -> NDArray[np.int64]:
        offsets, counts = self._annotations.offsets, self.instance_counts
        ends = np.cumsum(counts)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
        result: NDArray[np.int64] = np.repeat(offsets[self._chosen], counts) + within
        return result


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
            given = annotation.get("segmentation")
            rings = usable_rings(given, height, width) if isinstance(given, list) else []
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
