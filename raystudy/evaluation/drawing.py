"""Instances drawn on their picture: boxes, half transparent masks, keypoints, names and scores, for people to look."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

OPACITY = 0.45
"""Of a mask."""

GOLDEN = 0.618034
"""Steps of the hue from category to category, so that neighbours in the list are far apart."""

LEAST_LONG_SIDE = 720
"""Smaller pictures are enlarged to it, so that names can be read, pixels."""

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One instance, in pixels of the picture that it is drawn on."""

    label: int
    """1 to the number of categories; decides the colour."""

    text: str
    box: tuple[float, float, float, float]
    """xyxy."""

    mask: NDArray[np.bool_] | None = None
    """[H, W] of the whole picture."""

    keypoints: NDArray[np.float64] | None = None
    """[K, 2 or 3]: x, y and, when it is there, whether the point is to be shown (above 0)."""


def drawing_size(height: int, width: int) -> tuple[int, int]:
    """Height and width at which a picture is drawn on."""
    factor = max(1.0, LEAST_LONG_SIDE / max(height, width))
    return round(height * factor), round(width * factor)


def colour_of(label: int) -> Colour:
    """The colour of a category; the same in every picture."""
    hue, turn = (0.02 + (label - 1) * GOLDEN) % 1.0, ((label - 1) // 12) % 3
    red, green, blue = colorsys.hls_to_rgb(hue, (0.5, 0.4, 0.6)[turn], 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_instances(
    picture: NDArray[np.uint8], instances: Sequence[Drawn], skeleton: Sequence[tuple[int, int]] = ()
) -> Image.Image:
    """The picture with its instances, the last ones on top.

    Args:
        picture: uint8 [H, W, 3]; see ``drawing_size``.
        instances: the most certain last, so that nothing covers them.
        skeleton: pairs of keypoints that a line joins where both are shown.
    """
    pixels = picture.astype(np.float32)
    for one in instances:
        if one.mask is not None:
            _lay(pixels, one.mask, colour_of(one.label))
    drawn = Image.fromarray(pixels.round().astype(np.uint8))
    pen = ImageDraw.Draw(drawn)
    unit = max(1, round(max(drawn.size) / 360))
    for one in instances:
        pen.rectangle(_inside(one.box, drawn.size), outline=colour_of(one.label), width=unit)
        if one.keypoints is not None:
            _mark(pen, one.keypoints, skeleton, colour_of(one.label), 2 * unit)
    taken: list[tuple[float, float, float, float]] = []
    for one in reversed(instances):  # the most certain choose their place first
        taken.append(_write(pen, one, drawn.size, taken))
    return drawn


def side_by_side(pictures: Sequence[Image.Image], captions: Sequence[str]) -> Image.Image:
    """Pictures of one size in a row, each below its caption."""
    gap, font = 10, ImageFont.load_default(size=22)
    head = 22 + 2 * gap
    width, height = pictures[0].size
    sheet = Image.new("RGB", (gap + (width + gap) * len(pictures), head + height + gap), "white")
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left = gap + number * (width + gap)
        ImageDraw.Draw(sheet).text((left, gap - 2), caption, fill=(30, 30, 30), font=font)
        sheet.paste(picture, (left, head))
    return sheet


def _lay(pixels: NDArray[np.float32], mask: NDArray[np.bool_], colour: Colour) -> None:
    """A mask in half transparent colour with an opaque rim, in place."""
    paint = np.array(colour, dtype=np.float32)
    pixels[mask] = pixels[mask] * (1 - OPACITY) + paint * OPACITY
    width = max(1, round(max(mask.shape) / 600))
    inner = mask.copy()
    for _ in range(width):
        padded = np.pad(inner, 1)
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    pixels[mask & ~inner] = paint


def _mark(
    pen: ImageDraw.ImageDraw,
    points: NDArray[np.float64],
    skeleton: Sequence[tuple[int, int]],
    colour: Colour,
    radius: int,
) -> None:
    shown = [len(point) < 3 or point[2] > 0 for point in points]
    places = [(float(point[0]), float(point[1])) for point in points]
    for one, other in skeleton:
        if shown[one] and shown[other]:
            pen.line([places[one], places[other]], fill="white", width=radius + 2)
            pen.line([places[one], places[other]], fill=colour, width=radius)
    for x, y in (place for place, is_shown in zip(places, shown, strict=True) if is_shown):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill="white", outline=colour, width=2)


def _write(
    pen: ImageDraw.ImageDraw, one: Drawn, size: tuple[int, int], taken: Sequence[tuple[float, ...]]
) -> tuple[float, float, float, float]:
    """Name and score on a plate at the box, where no other plate lies if there is such a place; the plate's corners."""
    font = ImageFont.load_default(size=max(13, round(max(size) / 46)))
    left, top, right, bottom = pen.textbbox((0, 0), one.text, font=font)
    width, height = right - left + 8, bottom - top + 6
    x1, y1, x2, y2 = one.box
    places = [(x1, y1 - height), (x1, y2), (x2 - width, y1 - height), (x2 - width, y2), (x1, y1), (x1, y2 - height)]
    kept = [(min(max(0.0, x), size[0] - width), min(max(0.0, y), size[1] - height), width, height) for x, y in places]
    corners = [(x, y, x + w, y + h) for x, y, w, h in kept]
    plate = min(corners, key=lambda place: sum(_overlap(place, other) for other in taken))  # the first of the best
    red, green, blue = colour = colour_of(one.label)
    is_bright = 0.299 * red + 0.587 * green + 0.114 * blue > 140
    pen.rounded_rectangle(plate, radius=3, fill=colour)
    place = (plate[0] + 4 - left, plate[1] + 3 - top)
    pen.text(place, one.text, fill="black" if is_bright else "white", font=font)
    return plate


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def _inside(box: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The box's corners as pixels of the picture, at least one pixel wide."""
    x1, y1 = min(max(0.0, box[0]), size[0] - 1.0), min(max(0.0, box[1]), size[1] - 1.0)
    x2, y2 = min(max(x1, box[2] - 1), size[0] - 1.0), min(max(y1, box[3] - 1), size[1] - 1.0)
    return x1, y1, x2, y2
