"""The ground truth side of an evaluation: COCO annotations as arrays, made once and used by every evaluation."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from pycocotools import mask as mask_api

from raystudy.errors import DataError
from raystudy.evaluation.masks import Rle
from raystudy.evaluation.matches import Floats
from raystudy.evaluation.matching import Objects

Kind = Literal["box", "mask", "keypoint"]

MAX_PROBLEMS = 20
"""How many problems of a file are told one by one."""


class GroundTruth:
    """Objects of a COCO instances file, sorted by category and picture; within, in the order of the file."""

    def __init__(self, content: dict[str, Any], with_masks: bool, with_keypoints: bool = False) -> None:
        """Raise ``DataError`` with all that cannot be scored."""
        self.image_ids = np.unique(np.array([image["id"] for image in content.get("images", [])], dtype=np.int64))
        self.category_ids = np.unique(
            np.array([category["id"] for category in content.get("categories", [])], dtype=np.int64)
        )
        images = {image["id"]: image for image in content.get("images", [])}
        categories = set(self.category_ids.tolist())
        # As COCOeval: what belongs to no listed picture or category is not there.
        annotations = [
            a for a in content.get("annotations", []) if a["image_id"] in images and a["category_id"] in categories
        ]
        _check(self, annotations, images, with_masks, with_keypoints)
        category = np.searchsorted(self.category_ids, [a["category_id"] for a in annotations]).astype(np.int64)
        image = np.searchsorted(self.image_ids, [a["image_id"] for a in annotations]).astype(np.int64)
        order = np.argsort(category * len(self.image_ids) + image, kind="stable")
        ordered = [annotations[index] for index in order.tolist()]
        self.objects = Objects(
            category=category[order],
            image=image[order],
            area=np.array([a["area"] for a in ordered], dtype=np.float64),
            is_crowd=np.array([bool(a.get("iscrowd", 0)) for a in ordered], dtype=bool),
        )
        self.boxes = np.array([a["bbox"] for a in ordered], dtype=np.float64).reshape(-1, 4)
        self.rles: list[Rle] = []
        """Of each object; empty when masks are not scored."""
        self.is_difficult = np.array([bool(a.get("ignore") or a.get("iscrowd")) for a in ordered], dtype=bool)
        """Of each object: VOC's difficult ones, which need not be found."""
        self.keypoints: Floats = np.zeros((0, 0, 3))
        """[G, K, 3], when keypoints are scored."""
        self.person_objects = self.objects
        """The objects as keypoints are scored: those without any labelled keypoint are ignored."""
        if with_keypoints:
            named = max((len(c.get("keypoints") or ()) for c in content["categories"]), default=0)
            number = len(ordered[0]["keypoints"]) // 3 if ordered else named
            self.keypoints = np.array([a["keypoints"] for a in ordered], np.float64).reshape(len(ordered), number, 3)
            is_ignored = np.array([_num_labelled(a) == 0 for a in ordered], dtype=bool)
            self.person_objects = replace(self.objects, is_ignored=is_ignored)
        if with_masks:
            self.rles = [_to_rle(a["segmentation"], images[a["image_id"]]) for a in ordered]


def _check(
    truth: GroundTruth,
    annotations: list[dict[str, Any]],
    images: dict[int, dict[str, Any]],
    with_masks: bool,
    with_keypoints: bool,
) -> None:
    problems = []
    if not len(truth.image_ids):
        problems.append("the validation annotations list no pictures")
    if not len(truth.category_ids):
        problems.append("the validation annotations list no categories")
    needed = ["bbox", "area", *(["segmentation"] if with_masks else []), *(["keypoints"] if with_keypoints else [])]
    for annotation in annotations:
        lacking = [name for name in needed if not _has(annotation.get(name))]
        if lacking:
            problems.append(
                f"annotation {annotation.get('id')} of image {annotation['image_id']} has no {' and no '.join(lacking)}"
                + ("; without masks, train a model without a mask head" if "segmentation" in lacking else "")
            )
    if with_masks:
        without_size = [image_id for image_id, image in images.items() if not {"height", "width"} <= set(image)]
        problems += [f"image {image_id} has no height and width" for image_id in without_size]
    lengths = sorted({len(a["keypoints"]) for a in annotations if _has(a.get("keypoints"))}) if with_keypoints else []
    if len(lengths) > 1 or any(length % 3 for length in lengths):
        problems.append(f"keypoints are lists of {lengths} numbers, but must be as many for all, 3 a keypoint")
    if len(problems) > MAX_PROBLEMS:
        problems = [*problems[:MAX_PROBLEMS], f"and {len(problems) - MAX_PROBLEMS} more of this kind"]
    if problems:
        raise DataError(problems)


def _num_labelled(annotation: dict[str, Any]) -> int:
    """As the file says, since COCOeval goes by that; counted where it does not."""
    stated = annotation.get("num_keypoints")
    return int(stated) if stated is not None else sum(v > 0 for v in annotation["keypoints"][2::3])


def _has(value: Any) -> bool:
    return value is not None and value != []


def _to_rle(segmentation: Any, image: dict[str, Any]) -> Rle:
    """One mask from polygons, from run lengths, or from pycocotools' compressed form, as ``COCO.annToRLE`` does it."""
    if isinstance(segmentation, list):
        parts = mask_api.frPyObjects(segmentation, image["height"], image["width"])
        merged: Rle = mask_api.merge(parts)
        return merged
    if isinstance(segmentation["counts"], list):
        encoded: Rle = mask_api.frPyObjects(segmentation, image["height"], image["width"])
        return encoded
    compressed: Rle = segmentation
    return compressed
