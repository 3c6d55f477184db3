"""A sheet of annotated pictures: boxes, masks and names over a sample, for eyes to check what numbers cannot."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from raystudy.data.coco import CocoDataset
from raystudy.errors import DataError

COLUMNS = 4
TILE = 340
"""Longer side of a picture on the sheet, pixels."""

GAP = 6
CAPTION = 18
"""Height of the line above each picture, pixels."""

MOST_NAMED = 25
"""Pictures with more instances get no names, which would cover them; nor do those of a single category."""

OPACITY = 0.4
"""Of a mask."""

COLOURS = ((230, 25, 75), (60, 180, 75), (0, 130, 200), (245, 130, 48), (145, 30, 180), (0, 170, 170), (240, 50, 230))
"""Of the categories, in turn."""


def draw_sheet(splits: dict[str, CocoDataset], pictures_each: int = 6, seed: int = 0) -> Image.Image:
    """A sheet with a sample of each split; pictures that cannot be read are said to be so.

    Args:
        splits: by name.
        pictures_each: pictures of a split; those with instances go first.
        seed: another seed draws other pictures.
    """
    tiles = [
        _tile(dataset, index, f"{name}: {dataset.file_name(index)}")
        for name, dataset in splits.items()
        for index in sample_of(dataset, pictures_each, seed)
    ]
    rows = [tiles[start : start + COLUMNS] for start in range(0, len(tiles), COLUMNS)]
    heights = [max(tile.height for tile in row) for row in rows]
    width = GAP + (TILE + GAP) * max((len(row) for row in rows), default=0)
    sheet = Image.new("RGB", (width, GAP + sum(height + GAP for height in heights)), "white")
    top = GAP
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            sheet.paste(tile, (GAP + column * (TILE + GAP), top))
        top += height + GAP
    return sheet


def sample_of(dataset: CocoDataset, wanted: int, seed: int) -> list[int]:
    """Pictures to look at: in random order, those that show a category not yet seen first, those without any last."""
    order = np.random.default_rng(seed).permutation(len(dataset)).tolist()
    offsets = np.concatenate([[0], np.cumsum(dataset.instance_counts)])
    labels = dataset.all_labels()
    seen: set[int] = set()
    new: list[int] = []
    others: list[int] = []
    empty: list[int] = []
    for index in order:
        held = set(labels[offsets[index] : offsets[index + 1]].tolist())
        (new if held - seen else others if held else empty).append(index)
        seen |= held
    return [*new, *others, *empty][:wanted]


def _tile(dataset: CocoDataset, index: int, caption: str) -> Image.Image:
    try:
        drawn = _annotated(dataset, index)
    except DataError as e:
        drawn = Image.new("RGB", (TILE, TILE // 2), (255, 205, 205))
        ImageDraw.Draw(drawn).multiline_text((6, 6), _wrapped(str(e), 50), fill="black", font=_font())
    tile = Image.new("RGB", (TILE, drawn.height + CAPTION), (235, 235, 235))
    tile.paste(drawn, (0, CAPTION))
    count = dataset.num_instances(index)
    text = f"{caption} ({count})"
    shown = text if len(text) <= 52 else f"…{text[-51:]}"
    ImageDraw.Draw(tile).text((3, 2), shown, fill="black", font=_font())
    return tile


def _annotated(dataset: CocoDataset, index: int) -> Image.Image:
    picture, found = dataset.image(index), dataset.instances(index)
    height, width = picture.shape[:2]
    factor = TILE / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    found = found.scaled(size[0] / width, size[1] / height)
    pixels = np.asarray(Image.fromarray(picture).resize(size), dtype=np.float32)
    colours = [COLOURS[(label - 1) % len(COLOURS)] for label in found.labels.tolist()]
    if found.masks is not None:
        for mask, colour in zip(found.masks.window(*size), colours, strict=True):
            _blend(pixels, mask, colour)
    drawn = Image.fromarray(pixels.astype(np.uint8))
    pen = ImageDraw.Draw(drawn)
    is_named = len(dataset.categories) > 1 and len(found) <= MOST_NAMED
    for box, label, colour in zip(found.boxes.tolist(), found.labels.tolist(), colours, strict=True):
        pen.rectangle(box, outline=colour, width=2 if len(found) <= MOST_NAMED else 1)
        if is_named:
            _write(pen, (box[0] + 2, max(0.0, box[1] - 12)), dataset.categories[label - 1], colour)
    for x, y, visible in found.keypoints.reshape(-1, 3).tolist() if found.keypoints is not None else ():
        if visible:
            pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill="yellow", outline="black")
    return drawn


def _blend(pixels: NDArray[np.float32], mask: NDArray[np.uint8], colour: tuple[int, int, int]) -> None:
    inside = mask.astype(bool)
    pixels[inside] = pixels[inside] * (1 - OPACITY) + np.array(colour, dtype=np.float32) * OPACITY


def _write(pen: ImageDraw.ImageDraw, place: tuple[float, float], text: str, colour: tuple[int, int, int]) -> None:
    pen.rectangle(pen.textbbox(place, text, font=_font()), fill="white")
    pen.text(place, text, fill=colour, font=_font())


def _wrapped(text: str, width: int) -> str:
    return "\n".join(text[start : start + width] for start in range(0, len(text), width))


def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=11)


def write_sheet(path: Path, splits: dict[str, CocoDataset], pictures_each: int = 6, seed: int = 0) -> None:
    """``draw_sheet`` as a PNG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_sheet(splits, pictures_each, seed).save(path, format="PNG")
