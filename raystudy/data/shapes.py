"""The embedded data set: textured shapes on noisy ground, written as an ordinary COCO-format folder.

Six shapes are to be detected and segmented; each is filled with one of six textures, which say nothing about the
category. The classification companion (``textures.texture_crops``) teaches the textures only: what pre-training has
to give are low-level features, as the paper argues for ImageNet. Every scene is a function of the generator's
parameters, the split and its index alone.
"""

import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from raystudy.data.locks import locked
from raystudy.data.outlines import to_segmentation
from raystudy.data.textures import (
    EXTENT,
    SHAPES,
    TEXTURES,
    ByteArray,
    FloatArray,
    Placement,
    draw_background,
    draw_rotation,
    fill,
    finish,
    inside,
)
from raystudy.spec.data import SHAPES_KEYPOINTS, ShapesSpec
from raystudy.spec.identity import digest

Split = Literal["train", "val"]

MIN_OBJECTS = 2
MIN_RADIUS, MAX_RADIUS = 12.0, 34.0
"""Pixels; ``MAX_RADIUS`` gives way in pictures smaller than 96 pixels."""

MIN_VISIBLE = 0.4
"""An object is placed only where every object keeps at least this share of its area visible."""

PLACEMENT_DRAWS = 20
"""Places tried for an object before it is left out."""

_SPLIT_CODE = {"train": 0, "val": 1}
_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class SceneObject:
    """One object of a scene: its category (index into ``SHAPES``), texture and visible mask."""

    category: int
    texture: int
    mask: NDArray[np.bool_]
    full_area: int


def draw_scene(spec: ShapesSpec, split: Split, index: int) -> tuple[ByteArray, list[SceneObject]]:
    """Picture ``index`` of a split, uint8 [H, W, 3] RGB, and its objects from back to front."""
    rng = np.random.default_rng((spec.seed, _SPLIT_CODE[split], spec.image_size, index))
    image = draw_background(rng, spec.image_size)
    objects: list[SceneObject] = []
    kinds = [label - 1 for label in spec.kinds] or list(range(len(SHAPES)))
    for _ in range(int(rng.integers(min(MIN_OBJECTS, spec.most_objects), spec.most_objects + 1))):
        _place(rng, image, objects, kinds)
    return finish(image, rng), objects


def render_shapes(spec: ShapesSpec, cache: Path | None = None) -> Path:
    """The data set's folder, rendered on the first call and shared by all processes of a machine from then on.

    It holds ``train/`` and ``val/`` (PNG), ``instances_train.json`` and ``instances_val.json``. A file lock lets one
    process render; the folder appears under its name only when it is whole.

    Args:
        spec: the generator's parameters.
        cache: where to keep it; by default ``$RAYSTUDY_CACHE``, else ``~/.cache/raystudy``.
    """
    folder = _folder(spec, cache)
    root, name = folder.parent, folder.name
    if folder.is_dir():
        return folder
    with locked(root / f".{name}.lock"):
        if not folder.is_dir():
            _logger.info("rendering %d pictures into %s", spec.num_train + spec.num_val, folder)
            partial = root / f".{name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            _write_split(spec, "train", spec.num_train, partial)
            _write_split(spec, "val", spec.num_val, partial)
            partial.rename(folder)
    return folder


def is_rendered(spec: ShapesSpec) -> bool:
    """Whether ``render_shapes`` has nothing left to do."""
    return _folder(spec, None).is_dir()


def default_cache() -> Path:
    """``$RAYSTUDY_CACHE``, else ``~/.cache/raystudy``."""
    return Path(os.environ.get("RAYSTUDY_CACHE") or Path.home() / ".cache" / "raystudy").expanduser()


def _folder(spec: ShapesSpec, cache: Path | None) -> Path:
    name = f"shapes-{digest([spec.checksum('train'), spec.checksum('val')])}"
    return (cache or default_cache()) / "shapes" / name


def _place(rng: np.random.Generator, image: FloatArray, objects: list[SceneObject], kinds: Sequence[int]) -> None:
    """Draw an object of one of these categories over the scene, where it leaves enough of all others visible."""
    size = image.shape[0]
    category, texture = kinds[int(rng.integers(len(kinds)))], int(rng.integers(len(TEXTURES)))
    for _ in range(PLACEMENT_DRAWS):
        radius = rng.uniform(MIN_RADIUS, max(MIN_RADIUS, min(MAX_RADIUS, size * 0.36)))
        x, y = rng.uniform(0.7 * radius, size - 0.7 * radius, 2)
        placement = Placement(x, y, radius, *draw_rotation(rng))
        reach = EXTENT * radius + 1
        left, top = max(0, int(x - reach)), max(0, int(y - reach))
        window = np.s_[top : min(size, int(y + reach) + 1), left : min(size, int(x + reach) + 1)]
        height, width = image[window].shape[:2]
        u, v = placement.coordinates(left, top, width, height)
        patch = inside(SHAPES[category], u / radius, v / radius)
        area = int(patch.sum())
        hidden = [int((other.mask[window] & patch).sum()) for other in objects]
        if all(int(o.mask.sum()) - h >= MIN_VISIBLE * o.full_area for o, h in zip(objects, hidden, strict=True)):
            for other in objects:
                other.mask[window] &= ~patch
            mask = np.zeros((size, size), dtype=np.bool_)
            mask[window] = patch
            objects.append(SceneObject(category, texture, mask, area))
            fill(image[window], patch, TEXTURES[texture], u, v, rng)
            return


def _write_split(spec: ShapesSpec, split: Split, num: int, folder: Path) -> None:
    (folder / split).mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(num):
        picture, objects = draw_scene(spec, split, index)
        file_name = f"{index:06d}.png"
        Image.fromarray(picture).save(folder / split / file_name, compress_level=1)
        side = spec.image_size
        images.append({"id": index + 1, "file_name": file_name, "width": side, "height": side})
        for drawn in objects:
            annotations.append(_annotation(index + 1, len(annotations) + 1, drawn))
            if spec.has_keypoints:
                annotations[-1] |= {"keypoints": _outermost(drawn.mask), "num_keypoints": len(SHAPES_KEYPOINTS)}
    named = {"keypoints": list(SHAPES_KEYPOINTS), "skeleton": []} if spec.has_keypoints else {}
    labels = spec.kinds or range(1, len(SHAPES) + 1)
    categories = [{"id": n, "name": SHAPES[n - 1], "supercategory": "shape", **named} for n in labels]
    content = {
        "info": {"description": "raystudy shapes", "checksum": spec.checksum(split), "textures": list(TEXTURES)},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    (folder / f"instances_{split}.json").write_text(json.dumps(content, separators=(",", ":")))


def _annotation(image_id: int, annotation_id: int, drawn: SceneObject) -> dict[str, Any]:
    columns, rows = np.flatnonzero(drawn.mask.any(0)), np.flatnonzero(drawn.mask.any(1))
    x, y, right, bottom = (int(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": drawn.category + 1,
        "texture": TEXTURES[drawn.texture],
        "bbox": [x, y, right - x, bottom - y],
        "area": int(drawn.mask.sum()),
        "iscrowd": 0,
        "segmentation": to_segmentation(drawn.mask),
    }


def _outermost(mask: NDArray[np.bool_]) -> list[float]:
    """x, y and visibility of the points that ``SHAPES_KEYPOINTS`` names, at pixels' centres.

    Of several that lie equally far out, the one in the middle.
    """
    rows, columns = np.nonzero(mask)
    found: list[float] = []
    for along, across, end in ((columns, rows, min), (rows, columns, min), (columns, rows, max), (rows, columns, max)):
        place = end(along.tolist())
        tied = np.sort(across[along == place])
        middle = int(tied[len(tied) // 2])
        x, y = (place, middle) if along is columns else (middle, place)
        found += [x + 0.5, y + 0.5, 2]
    return found
