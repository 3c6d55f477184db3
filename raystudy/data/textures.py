"""The drawing of one filled shape: six outlines, six textures, backgrounds.

Only ``+ - * /``, comparisons and the generator's uniform draws are used, no library function whose last bit may differ
between machines, so a picture is the same bits everywhere.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
ByteArray = NDArray[np.uint8]
Pixels = NDArray[Any]

SHAPES = ("disc", "triangle", "square", "star", "cross", "crescent")
"""What is detected: the categories, in the order of their ids from 1."""

TEXTURES = ("stripes", "checks", "dots", "rings", "zigzag", "speckle")
"""What is classified in pre-training, in the order of the labels from 0."""

PERIOD = (5.0, 11.0)
"""Texture period, pixels."""

MIN_CONTRAST, MAX_CONTRAST = 0.2, 0.6
"""Difference between a texture's two colours in each channel; 1 is the whole range."""

BACKGROUND_CONTRAST = 0.14
"""The same of the texture that half of the backgrounds carry."""

CLUTTER = 0.35
"""Range of the smooth noise in the background; 1 is the whole range."""

PIXEL_NOISE = 0.16
"""Half-width of the triangular noise on every pixel."""

EXTENT = 1.21
"""No shape of radius r reaches further than ``EXTENT * r`` from its centre."""

_COS72, _SIN72 = 0.30901699437494745, 0.9510565162951535
_COS36, _SIN36 = 0.8090169943749475, 0.5877852522924731
_SIN60 = 0.8660254037844386


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a shape lies: centre and radius in pixels, and the cosine and sine of its rotation."""

    x: float
    y: float
    radius: float
    cos: float
    sin: float

    def coordinates(self, left: int, top: int, width: int, height: int) -> tuple[FloatArray, FloatArray]:
        """The shape's own coordinates, in pixels, at the pixel centres of a window: two arrays [height, width]."""
        dx = np.arange(left, left + width)[None, :] + 0.5 - self.x
        dy = np.arange(top, top + height)[:, None] + 0.5 - self.y
        return self.cos * dx + self.sin * dy, self.cos * dy - self.sin * dx


def draw_rotation(rng: np.random.Generator) -> tuple[float, float]:
    """Cosine and sine of a random angle, by the rational parametrisation of the circle and a random quarter turn."""
    t = rng.uniform(-0.41421356, 0.41421356)
    cos, sin = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    return [(cos, sin), (-sin, cos), (-cos, -sin), (sin, -cos)][int(rng.integers(4))]


def inside(shape: str, u: FloatArray, v: FloatArray) -> BoolArray:
    """Whether points lie in a shape of radius 1 around the origin."""
    result: BoolArray
    if shape == "disc":
        result = u * u + v * v <= 1
    elif shape == "triangle":
        result = (-v <= 0.575) & (_SIN60 * u + 0.5 * v <= 0.575) & (-_SIN60 * u + 0.5 * v <= 0.575)
    elif shape == "square":
        result = np.maximum(np.abs(u), np.abs(v)) <= 0.85
    elif shape == "star":
        normals = ((0.0, -1.0), (_SIN72, -_COS72), (_SIN36, _COS36), (-_SIN36, _COS36), (-_SIN72, -_COS72))
        # A pentagram is what lies on the inner side of at least four of its five lines.
        result = np.sum([nx * u + ny * v <= 0.36 for nx, ny in normals], axis=0) >= 4
    elif shape == "cross":
        wide, narrow = np.maximum(np.abs(u), np.abs(v)), np.minimum(np.abs(u), np.abs(v))
        result = (wide <= 1) & (narrow <= 0.34)
    else:
        shifted = u - 0.5
        result = (u * u + v * v <= 1) & (shifted * shifted + v * v > 0.64)
    return result


def pattern(texture: str, u: FloatArray, v: FloatArray, period: float, rng: np.random.Generator) -> BoolArray:
    """Where a texture shows its second colour, at points given in pixels."""
    result: BoolArray
    a, b = u / period + rng.random(), v / period + rng.random()
    if texture == "stripes":
        result = _fraction(a) < 0.5
    elif texture == "checks":
        result = (_fraction(a * 0.75) < 0.5) ^ (_fraction(b * 0.75) < 0.5)
    elif texture == "dots":
        x, y = _fraction(a) - 0.5, _fraction(b) - 0.5
        result = x * x + y * y < 0.11
    elif texture == "rings":
        result = _fraction(np.sqrt(u * u + v * v) / period + rng.random()) < 0.5
    elif texture == "zigzag":
        result = _fraction(a + np.abs(_fraction(b * 0.5) - 0.5) * 1.6) < 0.5
    else:
        cells = rng.random((16, 16)) < 0.5
        result = cells[np.floor(b * 2).astype(np.int64) % 16, np.floor(a * 2).astype(np.int64) % 16]
    return result


def fill(
    image: FloatArray, mask: BoolArray, texture: str, u: FloatArray, v: FloatArray, rng: np.random.Generator
) -> None:
    """Paint ``mask`` (a window of ``image``, both of the window's size) with a texture in two random colours."""
    period = rng.uniform(*PERIOD)
    first = rng.uniform(0.1, 0.9, 3)
    # Away from the nearer end of the range, so that the contrast is never clipped away.
    sign = np.where(first > 0.5, -1.0, 1.0)
    second = first + sign * rng.uniform(MIN_CONTRAST, MAX_CONTRAST, 3)
    chosen = pattern(texture, u, v, period, rng)
    image[mask] = np.where(chosen[mask][:, None], second, first)


def draw_background(rng: np.random.Generator, size: int) -> FloatArray:
    """Smooth coloured noise, in half of the pictures with a faint texture over it; [size, size, 3], about 0 to 1."""
    image = rng.uniform(0.2, 0.8, 3) + CLUTTER * (_value_noise(rng, size, 4) - 0.5)
    image += 0.6 * CLUTTER * (_value_noise(rng, size, max(4, size // 8)) - 0.5)
    if rng.random() < 0.5:
        cos, sin = draw_rotation(rng)
        u, v = Placement(size / 2, size / 2, 1.0, cos, sin).coordinates(0, 0, size, size)
        texture = TEXTURES[int(rng.integers(len(TEXTURES)))]
        image += BACKGROUND_CONTRAST * (pattern(texture, u, v, rng.uniform(*PERIOD), rng)[:, :, None] - 0.5)
    return image


def finish(image: FloatArray, rng: np.random.Generator) -> ByteArray:
    """Add the pixel noise and round to uint8."""
    noise = PIXEL_NOISE * (rng.random(image.shape) + rng.random(image.shape) - 1.0)
    scaled = np.clip((image + noise) * 255.0 + 0.5, 0.0, 255.0)
    return scaled.astype(np.uint8)


def texture_crops(seed: int, num: int, size: int = 48) -> tuple[ByteArray, NDArray[np.int64]]:
    """The classification companion of the shapes: each picture shows one shape, its label is the texture.

    The renderer, its textures, outlines and backgrounds are those of the scenes; only the shape's category, which is
    what the detector has to learn, is not told.

    Args:
        seed: crop ``i`` is a function of ``(seed, i, size)`` alone.
        num: number of pictures.
        size: side of a picture, pixels.

    Returns:
        uint8 [num, 3, size, size], RGB, and int64 [num], 0 to 5.
    """
    images = np.empty((num, 3, size, size), dtype=np.uint8)
    labels = np.empty(num, dtype=np.int64)
    for index in range(num):
        rng = np.random.default_rng((seed, 2, size, index))
        labels[index] = rng.integers(len(TEXTURES))
        images[index] = _draw_crop(rng, TEXTURES[labels[index]], size).transpose(2, 0, 1)
    return images, labels


def _draw_crop(rng: np.random.Generator, texture: str, size: int) -> ByteArray:
    image = draw_background(rng, size)
    shape = SHAPES[int(rng.integers(len(SHAPES)))]
    x, y = rng.uniform(0.35 * size, 0.65 * size, 2)
    placement = Placement(x, y, rng.uniform(0.25 * size, 0.6 * size), *draw_rotation(rng))
    u, v = placement.coordinates(0, 0, size, size)
    fill(image, inside(shape, u / placement.radius, v / placement.radius), texture, u, v, rng)
    return finish(image, rng)


def _fraction(values: FloatArray) -> FloatArray:
    floored: FloatArray = np.floor(values)
    return values - floored


def _value_noise(rng: np.random.Generator, size: int, cells: int) -> FloatArray:
    """Random values on a grid of ``cells`` x ``cells``, interpolated linearly to [size, size, 3]."""
    grid = rng.random((cells + 1, cells + 1, 3))
    position = np.arange(size) * (cells / size)
    low = np.floor(position).astype(np.int64)
    part = position - low
    rows = grid[low] + part[:, None, None] * (grid[low + 1] - grid[low])
    noise: FloatArray = rows[:, low] + part[None, :, None] * (rows[:, low + 1] - rows[:, low])
    return noise
