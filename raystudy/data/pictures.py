"""Pictures from disk, of any kind, as RGB uint8."""

import io
from collections.abc import Callable, Hashable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from raystudy.data.jpeg import fast_decoder
from raystudy.errors import DataError

CACHE_BYTES = 512 * 2**20
"""Pictures of one data set that a process keeps in memory, bytes."""

ORIENTATION, FIRST_ON_ITS_SIDE = 0x0112, 5
"""EXIF's tag, and the first of its values that change places of height and width."""


def read_picture(path: Path, height: int, width: int) -> NDArray[np.uint8]:
    """Decode a picture to uint8 [height, width, 3], RGB.

    Grey, palette, CMYK and 16-bit pictures are converted, transparency is ignored. A picture that its EXIF data turn
    is turned, unless the annotations were made on the unturned one.

    Args:
        path: of the file.
        height: as the annotations have it, pixels.
        width: as the annotations have it, pixels.

    Raises:
        DataError: the file is missing, cannot be decoded, or has another size.
    """
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as opened:
            pixels = _plain_jpeg(opened, data)
            if pixels is None:
                opened.load()
                pixels = _to_rgb(_turned(opened, height, width))
    except FileNotFoundError as e:
        raise DataError(f"picture {path} is not there") from e
    except UnidentifiedImageError as e:  # its own words name an object in memory
        raise DataError(
            f"picture {path} cannot be read (it is no picture); replace it or drop it from the annotations"
        ) from e
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:
        raise DataError(f"picture {path} cannot be read ({e}); replace it or drop it from the annotations") from e
    if pixels.shape != (height, width, 3):
        raise DataError(
            f"picture {path} is {pixels.shape[1]} x {pixels.shape[0]}, but the annotations say {width} x {height}; "
            "the annotations were made for another version of it"
        )
    return pixels


def picture_size(path: Path) -> tuple[int, int] | None:
    """Height and width as ``read_picture`` turns it, from the file's head alone; None when it cannot be read."""
    try:
        with Image.open(path) as opened:
            width, height = opened.size
            is_on_its_side = _orientation(opened) >= FIRST_ON_ITS_SIDE
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return (width, height) if is_on_its_side else (height, width)


def unreadable(path: Path) -> str:
    """Why a file is no picture, as far as its head tells; empty when it is one."""
    if not path.is_file():
        return f"picture {path} is not there"
    return "" if picture_size(path) is not None else f"{path} is no picture that can be read"


def picture_mode(path: Path) -> str:
    """What Pillow calls the picture's kind, such as ``RGB``, ``L`` (grey) or ``CMYK``; ``unreadable`` when it is."""
    try:
        with Image.open(path) as opened:
            return opened.mode
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return "unreadable"


class PictureCache:
    """Pictures in this process' memory, until ``CACHE_BYTES`` are full; what does not fit is made each time.

    Nothing is ever evicted: over whole epochs that serves more hits than dropping the oldest would.
    """

    def __init__(self) -> None:
        self._room = CACHE_BYTES
        self._kept: dict[Hashable, NDArray[np.uint8]] = {}

    def get(self, key: Hashable, read: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """The picture kept under ``key``, else what ``read`` returns."""
        picture = self._kept.get(key)
        if picture is None:
            picture = read()
            if picture.nbytes <= self._room:
                self._room -= picture.nbytes
                self._kept[key] = picture
        return picture


def _plain_jpeg(opened: Image.Image, data: bytes) -> NDArray[np.uint8] | None:
    """The pixels of a colour JPEG that nothing turns, by the fast decoder; None where Pillow has to look at it."""
    decode = fast_decoder()
    if decode is None or opened.format != "JPEG" or opened.mode != "RGB" or _orientation(opened) != 1:
        return None
    try:
        return decode(data)
    except (ValueError, RuntimeError):
        return None


def _orientation(picture: Image.Image) -> int:
    found: int = picture.getexif().get(ORIENTATION, 1)
    return found


def _turned(picture: Image.Image, height: int, width: int) -> Image.Image:
    if _orientation(picture) == 1:
        return picture
    turned = ImageOps.exif_transpose(picture)
    if turned.size != (width, height) and picture.size == (width, height):
        return picture
    return turned


def _to_rgb(picture: Image.Image) -> NDArray[np.uint8]:
    if picture.mode.startswith(("I", "F")):
        return _deep_to_rgb(np.asarray(picture, dtype=np.float64))
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _deep_to_rgb(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Grey values of 16 bits, or floats, as 8 bits: the full range of the type, not the picture's own, so that equal
    values stay equal from picture to picture. Values that fit into 8 bits are taken as they are."""
    peak = values.max(initial=0.0)
    factor = 255.0 if peak <= 1.0 and not np.array_equal(values, np.round(values)) else 1.0
    factor = 255.0 / 65535.0 if peak > 255.0 else factor
    grey = np.clip(values * factor + 0.5, 0.0, 255.0).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
