"""Damages to a data set, by what they do: those that stop, those that are repaired, those that are merely unusual."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.data.synthetic import annotation

Content = Any
Damage = Callable[[Content, Path], Content]
"""Takes a sound json's content and the folder of pictures; returns what is written as instances_train.json."""


def field(key: str, index: int, **values: Any) -> Damage:
    def damage(content: Content, images: Path) -> Content:
        content[key][index] |= values
        return content

    return damage


def without(key: str, index: int, name: str) -> Damage:
    def damage(content: Content, images: Path) -> Content:
        del content[key][index][name]
        return content

    return damage


def added(**values: Any) -> Damage:
    """One more annotation on image 7."""

    def damage(content: Content, images: Path) -> Content:
        content["annotations"].append(annotation(4) | values)
        return content

    return damage


def content_is(change: Callable[[Content], Content]) -> Damage:
    return lambda content, images: change(content)


def picture(write: Callable[[Path], object]) -> Damage:
    """Something else in the place of a.png, 40 x 30."""

    def damage(content: Content, images: Path) -> Content:
        path = images / "a.png"
        path.unlink()
        write(path)
        return content

    return damage


GREY = np.add.outer(np.arange(30), np.arange(40))


def saved(mode: str, suffix: str = "png", **options: Any) -> Damage:
    """a.png in another mode, perhaps as another kind of file."""

    def damage(content: Content, images: Path) -> Content:
        (images / "a.png").unlink()
        content["images"][0]["file_name"] = f"a.{suffix}"
        Image.fromarray(GREY.astype(np.uint8)).convert(mode).save(images / f"a.{suffix}", **options)
        return content

    return damage


def deep(content: Content, images: Path) -> Content:
    Image.fromarray((GREY * 600).astype(np.uint16)).save(images / "a.png")
    return content


def turned(content: Content, images: Path) -> Content:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREY.T.astype(np.uint8)).save(images / "a.png", exif=exif)
    return content


def cut(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-200])


def below(content: Content, images: Path) -> Content:
    (images / "deep").mkdir()
    (images / "a.png").rename(images / "deep" / "ä b.png")
    content["images"][0]["file_name"] = "deep/ä b.png"
    return content


JSON, A = "instances_train.json", "annotation 1"
STOPS: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "a list": (content_is(lambda c: []), (JSON, "holds a list, but must be an object")),
    "an empty object": (content_is(lambda c: {}), (JSON, "lacks the list images", "lacks the list categories")),
    "annotations as an object": (content_is(lambda c: c | {"annotations": {}}), (JSON, "lacks the list annotations")),
    "no images": (content_is(lambda c: c | {"images": []}), (JSON, "has no images")),
    "no categories": (content_is(lambda c: c | {"categories": []}), (JSON, "there are no categories")),
    "no annotations": (content_is(lambda c: c | {"annotations": []}), (JSON, "has no instances")),
    "a category without id": (without("categories", 0, "id"), (JSON, "categories[0]", "no id or no name")),
    "a category without name": (field("categories", 0, name=""), (JSON, "categories[0]", "no id or no name")),
    "a category twice": (field("categories", 0, id=2), (JSON, "category ids occur twice: 2")),
    "keypoint names that are none": (field("categories", 0, keypoints=17), (JSON, "keypoints that are no list", "5")),
    "an image without id": (without("images", 0, "id"), (JSON, "images[0]", "no id or no file_name")),
    "an image with a text id": (field("images", 0, id="7"), (JSON, "images[0]", "no id or no file_name")),
    "an id beyond 64 bits": (field("images", 0, id=2**70), (JSON, "images[0]", "no id or no file_name")),
    "an image without file": (without("images", 0, "file_name"), (JSON, "images[0]", "no id or no file_name")),
    "a file name that is a number": (field("images", 0, file_name=5), (JSON, "images[0]", "no id or no file_name")),
    "an image twice": (field("images", 0, id=9), (JSON, "image ids occur twice: 9")),
    "an image that is no object": (content_is(lambda c: c | {"images": [*c["images"], 5]}), (JSON, "images[2]")),
    "an image without width": (without("images", 0, "width"), (JSON, "image 7", "no whole height and width")),
    "a height of 0": (field("images", 0, height=0), (JSON, "image 7", "no whole height and width")),
    "a height that is not a number": (field("images", 0, height=float("nan")), (JSON, "image 7", "no whole height")),
    "an annotation of no image": (field("annotations", 0, image_id=3), (JSON, f"{A} (image 3)", "not listed")),
    "an annotation without image": (without("annotations", 0, "image_id"), (JSON, f"{A} (image None)", "not listed")),
    "an image id that is a list": (field("annotations", 0, image_id=[7]), (JSON, A, "not listed")),
    "an unknown category": (
        field("annotations", 0, category_id=4),
        (JSON, f"{A} (category 4); the categories are 5, 2"),
    ),
    "no category id": (without("annotations", 0, "category_id"), (JSON, f"{A} (category None)")),
    "an annotation twice": (field("annotations", 0, id=2), (JSON, "annotation ids occur twice: annotation 2")),
    "an annotation with a text id": (field("annotations", 0, id="x"), (JSON, "annotation ids are no whole numbers")),
    "an annotation that is no object": (
        content_is(lambda c: c | {"annotations": [*c["annotations"], 5]}),
        (JSON, "annotations are no objects: annotations[3]"),
    ),
    "three numbers as box": (field("annotations", 0, bbox=[1, 2, 3]), (JSON, A, "not four finite numbers")),
    "NaN in a box": (field("annotations", 0, bbox=[1, 2, 3, float("nan")]), (JSON, A, "not four finite numbers")),
    "null in a box": (field("annotations", 0, bbox=[1, 2, 3, None]), (JSON, A, "not four finite numbers")),
    "a box as text": (field("annotations", 0, bbox="1 2 3 4"), (JSON, A, "not four finite numbers")),
    "an area as text": (field("annotations", 0, area="9"), (JSON, f"{A} ('9')", "areas are no finite numbers")),
    "an area that is not a number": (field("annotations", 0, area=float("nan")), (JSON, A, "areas are no finite")),
    "a crowd flag as text": (field("annotations", 0, iscrowd="0"), (JSON, f"{A} ('0')", "iscrowd")),
    "neither box nor mask": (field("annotations", 0, bbox=None, segmentation=[]), (JSON, A, "neither box nor")),
    "a segmentation as text": (field("annotations", 0, segmentation="mask"), (JSON, A, "neither polygons nor run")),
    "a flat polygon": (field("annotations", 0, segmentation=[1, 2, 3, 4, 5, 6]), (JSON, A, "neither polygons nor run")),
    "an odd polygon": (field("annotations", 0, segmentation=[[1] * 7]), (JSON, A, "polygons are not pairs")),
    "infinity in a polygon": (
        field("annotations", 0, segmentation=[[1, 2, 3, 4, 5, float("inf")]]),
        (JSON, A, "polygons are not pairs"),
    ),
    "run lengths without size": (
        field("annotations", 0, segmentation={"counts": [1]}),
        (JSON, A, "lack size or counts"),
    ),
    "run lengths of another size": (
        field("annotations", 0, segmentation={"size": [40, 30], "counts": [1200]}),
        (JSON, f"{A} (40 x 30 instead of 30 x 40, height first)"),
    ),
    "run lengths that are too short": (
        field("annotations", 0, segmentation={"size": [30, 40], "counts": [9]}),
        (JSON, A, "do not add up"),
    ),
    "a negative run length": (
        field("annotations", 0, segmentation={"size": [30, 40], "counts": [-5, 1205]}),
        (JSON, A, "do not add up"),
    ),
    "compressed run lengths that are cut off": (
        field("annotations", 0, segmentation={"size": [30, 40], "counts": "01n0000"}),
        (JSON, A, "do not add up"),
    ),
    "compressed run lengths that are none": (
        field("annotations", 0, segmentation={"size": [30, 40], "counts": "ÿ z"}),
        (JSON, A, "do not add up"),
    ),
    "keypoints of no category": (field("annotations", 0, keypoints=[1, 2, 2]), (JSON, A, "keypoint lists do not fit")),
    "keypoints as a number": (field("annotations", 0, keypoints=3), (JSON, A, "keypoint lists do not fit")),
    "a picture that is missing": (picture(lambda path: None), (JSON, "1 of 2 pictures are not in", "a.png")),
    "a folder in a picture's place": (picture(Path.mkdir), (JSON, "1 of 2 pictures are not in", "a.png")),
    "an empty picture": (picture(Path.touch), ("a.png cannot be read",)),
    "a truncated picture": (picture(cut), ("a.png cannot be read",)),
    "text as picture": (picture(lambda path: path.write_text("no picture")), ("a.png cannot be read",)),
    "a picture of another size": (
        picture(lambda path: Image.new("RGB", (44, 30)).save(path)),
        ("a.png is 44 x 30, but the annotations say 40 x 30",),
    ),
}

OUTSIDE = [[50.0, 5.0, 60.0, 5.0, 60.0, 9.0]]
LINE = [[5.0, 5.0, 9.0, 5.0, 14.0, 5.0]]
SQUARE = [5.0, 5.0, 14.0, 5.0, 14.0, 12.0, 5.0, 12.0]
EMPTY = {"size": [30, 40], "counts": [1200]}
AS_BOX = "instances without mask given their box as mask"
LEFT_OUT = "masks of which parts without extent in their picture were left out"

REPAIRED: dict[str, tuple[Damage, dict[str, int], int]] = {
    # What is done, what is counted, and how many instances image 7 then has.
    "a box beyond the picture": (added(bbox=[35, 5, 20, 10]), {"boxes clipped to their picture": 1}, 3),
    "a box without area": (added(bbox=[5, 5, 0, 0]), {"boxes without extent taken from their mask": 1}, 3),
    "an inverted box": (added(bbox=[14, 12, -9, -7]), {"boxes without extent taken from their mask": 1}, 3),
    "a box outside": (added(bbox=[90, 90, 5, 5]), {"boxes without extent taken from their mask": 1}, 3),
    "no box": (added(bbox=None), {"boxes without extent taken from their mask": 1}, 3),
    "no area anywhere": (
        added(bbox=[5, 5, 0, 3], segmentation=[]),
        {"instances without extent inside their picture dropped": 1},
        2,
    ),
    "a polygon of two points, no area": (
        added(bbox=[5, 5, 0, 3], segmentation=[[1, 2, 3, 4]]),
        {"instances without extent inside their picture dropped": 1},
        2,
    ),
    "no mask": (added(segmentation=[]), {AS_BOX: 1}, 3),
    "a polygon of two points": (added(segmentation=[[5, 5, 9, 9]]), {AS_BOX: 1, LEFT_OUT: 1}, 3),
    "a polygon outside": (added(segmentation=OUTSIDE), {AS_BOX: 1, LEFT_OUT: 1}, 3),
    "a polygon on a line": (added(segmentation=LINE), {AS_BOX: 1, LEFT_OUT: 1}, 3),
    "one polygon of two outside": (added(segmentation=[SQUARE, *OUTSIDE]), {LEFT_OUT: 1}, 3),
    "an empty mask": (added(segmentation=EMPTY), {AS_BOX: 1, LEFT_OUT: 1}, 3),
    "a crowd": (
        added(iscrowd=1, segmentation={"size": [30, 40], "counts": [300, 60, 840]}),
        {"crowd regions kept out of training": 1},
        2,
    ),
    "a difficult object": (added(ignore=1), {"difficult objects kept out of training": 1}, 2),
}

WORKS: dict[str, Damage] = {
    "nothing wrong": content_is(lambda c: c),
    "a grey picture": saved("L"),
    "a grey picture with transparency": saved("LA"),
    "a palette": saved("P"),
    "black and white": saved("1"),
    "print colours": saved("CMYK", "jpg", quality=95),
    "transparency": saved("RGBA"),
    "another kind of file": saved("RGB", "bmp"),
    "16 bits": deep,
    "turned by EXIF": turned,
    "a folder below, with letters of all kinds": below,
    "no area": without("annotations", 0, "area"),
    "no annotation id": without("annotations", 0, "id"),
    "no crowd flag": without("annotations", 0, "iscrowd"),
    "an id of 0": field("annotations", 0, id=0),
    "a box of whole and broken numbers": field("annotations", 0, bbox=[4, 6.25, 10.5, 8]),
    "a true crowd flag of False": field("annotations", 0, iscrowd=False),
}
