"""The data of a trial: which annotations, which part of them, and how pictures become input."""

from dataclasses import dataclass
from typing import Literal

from raystudy.spec.identity import digest, identity_dict, located

SHAPES_VERSION = 1
"""Raised when the renderer changes what it draws, so that older results keep their identity."""


SHAPES_KEYPOINTS = ("left", "top", "right", "bottom")
"""Keypoints of a shape: its outermost visible points, whatever its rotation; a mirror swaps left and right."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShapesSpec:
    """The embedded, procedural data set: six shapes to detect, filled with six textures to pre-train on."""

    num_train: int = 1500
    num_val: int = 300
    image_size: int = 128
    seed: int = 0
    version: int = SHAPES_VERSION
    has_keypoints: bool = False
    """Whether annotations have the outermost points of each object, ``SHAPES_KEYPOINTS``."""

    most_objects: int = 5
    """In a scene; there are at least two, or one where this is 1."""

    kinds: tuple[int, ...] = ()
    """Labels of the shapes that are drawn, in ascending order; empty draws all six."""

    def checksum(self, split: str) -> str:
        """Identity of one split: what is drawn is a function of it. ``split`` is ``train`` or ``val``."""
        other = {"train": "num_val", "val": "num_train"}[split]
        chosen = {key: value for key, value in identity_dict(self).items() if key != other}
        return f"shapes-{split}-{digest(chosen)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSpec:
    """One data set with its training and validation part. Identity is content, never location."""

    format: Literal["shapes", "coco", "voc", "yolo"] = "coco"
    remote: str = located("")
    """An object store's folder (``s3://…``, ``gs://…``) that is copied to each machine; the paths below are in it."""

    remote_version: str = located("")
    """Of what the store listed there when the study was planned."""

    train_images: str = located("")
    train_annotations: str = located("")
    val_images: str = located("")
    val_annotations: str = located("")
    train_checksum: str = ""
    """Of the annotations (SHA-256 of the file, or of the generator's parameters)."""

    val_checksum: str = ""
    num_categories: int = 80
    """Categories that are learned and evaluated. Fewer than the data has keeps the first of ``subset_seed``'s order.

    Objects of the others stay in the pictures, without annotation; shapes are drawn without them.
    """

    num_keypoints: int = located(0)
    """Keypoints of an instance, 0 without: what the annotations have, which their checksums stand for."""

    shapes: ShapesSpec | None = located(None)
    """Generator parameters when ``format`` is ``shapes``; the checksums stand for them."""

    name: str = located("")
    fraction: float = 1.0
    """Share of the training images that is used; subsets of one seed are nested."""

    num_images: int | None = None
    """Number of training images that is used, instead of a fraction."""

    subset_seed: int = 0
    stratified: bool = False
    """A subset of the training images holds every category, or is refused."""

    instances_per_image: int | None = None
    """Most instances that a training image keeps, drawn with ``subset_seed``; None keeps all.

    The others stay in the picture, without annotation. Scenes of shapes, of both splits, are drawn without them.
    """

    @property
    def subset_label(self) -> str:
        """``f100`` for all images, ``f10`` for a tenth, ``n3500`` for 3,500, ``f100i2`` with 2 instances each."""
        images = f"n{self.num_images}" if self.num_images is not None else f"f{self.fraction * 100:g}"
        return images if self.instances_per_image is None else f"{images}i{self.instances_per_image}"

    def problems(self) -> list[str]:
        """What is wrong, in words; whether files exist is for preflight to say."""
        found = []
        if not 0 < self.fraction <= 1:
            found.append(f"data fraction is {self.fraction:g}, but must be in (0, 1]")
        if self.num_images is not None and self.num_images < 1:
            found.append(f"num_images is {self.num_images}, but must be at least 1")
        if self.num_images is not None and self.fraction != 1.0:
            found.append("a subset is given by fraction or by num_images, not by both; drop one")
        if self.num_categories < 1:
            found.append(f"num_categories is {self.num_categories}, but must be at least 1")
        if self.instances_per_image is not None and self.instances_per_image < 1:
            found.append(f"instances_per_image is {self.instances_per_image}, but must be at least 1, or none for all")
        if self.format == "shapes" and self.shapes is None:
            found.append("data format shapes needs the generator's parameters in data.shapes")
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class InputSpec:
    """How a picture becomes input."""

    train_short_sides: tuple[int, ...] = (800,)
    """Lengths of the shorter side, pixels; one is drawn for each picture."""

    test_short_side: int = 800
    max_side: int = 1333
    """The longer side is never longer than this, pixels."""

    resize: bool = True
    """False takes pictures at their own size, where a pixel has a physical one; only ``max_side`` still shrinks."""

    crop: int = 0
    """Side of the square window that is cut from a training picture after resizing, pixels; 0 takes it whole."""

    flip: bool = True
    """Horizontal flip of half of the training pictures."""

    aspect_grouping: bool = True
    """A worker's batch holds only wide or only tall pictures, which saves padding."""

    size_divisor: int = 32
    """Padded batches have sides that are multiples of this."""

    def problems(self) -> list[str]:
        """What is wrong, in words."""
        found = []
        if not self.train_short_sides or min(self.train_short_sides) < 1 or self.test_short_side < 1:
            found.append("input sizes must be at least 1 pixel, and train_short_sides must name one")
        if self.crop < 0:
            found.append(f"crop is {self.crop}, but must be 0 (whole pictures) or a side in pixels")
        return found
