"""What makes COCO annotations unusable, all of it at once, each with the records named and what to do."""

import math
from collections.abc import Iterable
from typing import Any, TypeGuard

EXAMPLES = 3
"""Records that a problem names."""


class Findings:
    """Problems of one kind are told once, with their number and the first records."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], list[str]] = {}

    def add(self, kind: str, record: str, remedy: str) -> None:
        """Note that ``record`` has a problem of this kind."""
        self._records.setdefault((kind, remedy), []).append(record)

    def texts(self) -> list[str]:
        """One line for each kind, in the order of their first record."""
        return [_line(kind, records, remedy) for (kind, remedy), records in self._records.items()]


def content_problems(content: Any) -> list[str]:
    """What is wrong with a parsed COCO json; empty when it can be used. Pictures are not looked at."""
    if not isinstance(content, dict):
        return [
            f"the json holds a {type(content).__name__}, but must be an object with images, annotations, categories"
        ]
    missing = [key for key in ("images", "annotations", "categories") if not isinstance(content.get(key), list)]
    if missing:
        has = ", ".join(map(str, content)) or "nothing"
        return [f"the json lacks the list {key} (it has {has}); it is not COCO's instances format" for key in missing]
    if not content["images"]:
        return ["the json has no images"]
    findings = Findings()
    categories = _check_categories(content["categories"], findings)
    images = _check_images(content["images"], findings)
    _check_annotations(content["annotations"], images, categories, findings)
    return findings.texts()


def _check_categories(categories: list[Any], findings: Findings) -> dict[int, int]:
    """Category id to the length of its keypoint list."""
    found: dict[int, int] = {}
    for number, category in enumerate(categories):
        if not isinstance(category, dict) or not _is_id(category.get("id")) or not category.get("name"):
            findings.add(
                "categories have no id or no name", f"categories[{number}]", "give each a whole number and a name"
            )
            continue
        if category["id"] in found:
            findings.add("category ids occur twice", str(category["id"]), "make them unique")
        keypoints = category.get("keypoints") or []
        if not isinstance(keypoints, list):
            findings.add("categories have keypoints that are no list of names", str(category["id"]), "list them")
            keypoints = []
        found[category["id"]] = len(keypoints)
    if not categories:
        findings.add("there are no categories", "categories", "list at least one")
    return found


def _check_images(images: list[Any], findings: Findings) -> dict[int, tuple[int, int]]:
    """Image id to height and width."""
    found: dict[int, tuple[int, int]] = {}
    for number, image in enumerate(images):
        if not isinstance(image, dict) or not _is_id(image.get("id")) or not _is_text(image.get("file_name")):
            remedy = "give each a whole number and a path"
            findings.add("images have no id or no file_name", f"images[{number}]", remedy)
            continue
        height, width = image.get("height"), image.get("width")
        if not (_is_int(height) and _is_int(width) and min(height, width) > 0):
            findings.add("images have no whole height and width above 0", f"image {image['id']}", "fill them in")
            height, width = 0, 0
        if image["id"] in found:
            findings.add("image ids occur twice", str(image["id"]), "make them unique")
        found[image["id"]] = (height, width)
    return found


def _check_annotations(
    annotations: list[Any], images: dict[int, tuple[int, int]], categories: dict[int, int], findings: Findings
) -> None:
    seen: set[int] = set()
    for number, annotation in enumerate(annotations):
        if not isinstance(annotation, dict):
            findings.add("annotations are no objects", f"annotations[{number}]", "remove them")
            continue
        identity = annotation.get("id")
        record = f"annotation {identity}" if identity is not None else f"annotations[{number}]"
        if identity is not None and not _is_id(identity):
            findings.add("annotation ids are no whole numbers", record, "number them")
        elif identity in seen:
            findings.add("annotation ids occur twice", record, "make them unique")
        elif identity is not None:
            seen.add(identity)
        _check_annotation(annotation, record, images, categories, findings)


def _check_annotation(
    annotation: dict[str, Any],
    record: str,
    images: dict[int, tuple[int, int]],
    categories: dict[int, int],
    findings: Findings,
) -> None:
    image_id, category_id = annotation.get("image_id"), annotation.get("category_id")
    if not _is_int(image_id) or image_id not in images:
        remedy = "remove them or list the images"
        findings.add("annotations belong to images that are not listed", f"{record} (image {image_id})", remedy)
    if not _is_int(category_id) or category_id not in categories:
        remedy = f"the categories are {_listed(categories)}"
        findings.add("annotations have an unknown category", f"{record} (category {category_id})", remedy)
    for flag in ("iscrowd", "ignore"):
        if annotation.get(flag) not in (None, 0, 1):
            findings.add(
                f"annotations have {flag} that is neither 0 nor 1", f"{record} ({annotation[flag]!r})", "mend it"
            )
    if annotation.get("area") is not None and not (_are_finite([annotation["area"]]) and annotation["area"] >= 0):
        findings.add(
            "areas are no finite numbers from 0 on", f"{record} ({annotation['area']!r})", "mend or remove them"
        )
    bbox, segmentation = annotation.get("bbox"), annotation.get("segmentation")
    if bbox is not None and not (isinstance(bbox, list) and len(bbox) == 4 and _are_finite(bbox)):
        findings.add("boxes are not four finite numbers x, y, width, height", record, "mend or remove them")
    if bbox is None and not segmentation:
        findings.add("annotations have neither box nor segmentation", record, "remove them")
    if segmentation:
        _check_segmentation(segmentation, record, images.get(_as_id(image_id), (0, 0)), findings)
    keypoints, wanted = annotation.get("keypoints"), categories.get(_as_id(category_id), 0)
    is_list = isinstance(keypoints, list)
    if keypoints is not None and not (is_list and len(keypoints) == 3 * wanted and _are_finite(keypoints)):
        findings.add(
            "keypoint lists do not fit their category", record, "give x, y, visibility of each of its keypoints"
        )


def _check_segmentation(segmentation: Any, record: str, size: tuple[int, int], findings: Findings) -> None:
    if isinstance(segmentation, dict):
        _check_run_lengths(segmentation, record, size, findings)
    elif not isinstance(segmentation, list) or not all(isinstance(ring, list) for ring in segmentation):
        findings.add("segmentations are neither polygons nor run lengths", record, "see COCO's data format")
    elif not all(len(ring) % 2 == 0 and _are_finite(ring) for ring in segmentation):
        findings.add("polygons are not pairs of finite numbers", record, "mend or remove them")


def _check_run_lengths(segmentation: dict[str, Any], record: str, size: tuple[int, int], findings: Findings) -> None:
    counts, stated = segmentation.get("counts"), segmentation.get("size")
    if not isinstance(counts, str | list) or not isinstance(stated, list):
        findings.add("run lengths lack size or counts", record, "see COCO's data format")
    elif tuple(stated) != size:
        stated_text = " x ".join(map(str, stated))
        findings.add(
            "run lengths have another size than their image",
            f"{record} ({stated_text} instead of {size[0]} x {size[1]}, height first)",
            "encode them at the image's size",
        )
    elif not _adds_up(counts, size[0] * size[1]):
        findings.add("run lengths do not add up to their image's pixels", record, "encode them again")


def _adds_up(counts: str | list[Any], num_pixels: int) -> bool:
    if isinstance(counts, list):
        return all(_is_int(count) and count >= 0 for count in counts) and sum(counts) == num_pixels
    runs = _uncompressed(counts)
    return runs is not None and min(runs, default=0) >= 0 and sum(runs) == num_pixels


def _uncompressed(counts: str) -> list[int] | None:
    """COCO's compressed run lengths as numbers (``rleFrString`` in pycocotools' maskApi.c); None when cut off.

    Each character holds 5 bits from the lowest on, and whether more follow; from the fourth run on the difference to
    the run before the last is kept.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for character in counts:
        code = ord(character) - 48
        if not 0 <= code < 64:
            return None
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value, shift = 0, 0
    return None if shift else runs


def _is_id(value: Any) -> bool:
    """Arrays hold ids in 64 bits."""
    return _is_int(value) and -(2**63) <= value < 2**63


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and "\0" not in value


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _as_id(value: Any) -> int:
    """A value that may be looked up; no id is negative by accident of this."""
    return value if _is_int(value) else -1


def _are_finite(values: list[Any]) -> bool:
    try:
        return all(map(math.isfinite, values))
    except TypeError:
        return False


def _listed(values: Iterable[Any], most: int = 10) -> str:
    items = [str(value) for value in values]
    return ", ".join(items[:most]) + (f", … ({len(items)} in all)" if len(items) > most else "")


def _line(kind: str, records: list[str], remedy: str) -> str:
    named = ", ".join(records[:EXAMPLES]) + (", …" if len(records) > EXAMPLES else "")
    return f"{len(records)} x {kind}: {named}; {remedy}"
