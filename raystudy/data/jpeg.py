"""JPEG by an optional library, where it gives the very bits that Pillow gives.

``simplejpeg`` (the extra ``fast``) decodes about a quarter faster. Both are libjpeg-turbo in a wheel, but nothing
promises that they stay alike, so each process compares them on pictures that it makes itself before it trusts it: what
a study finds must not depend on what happens to be installed.
"""

import functools
import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Decoder = Callable[[bytes], NDArray[np.uint8]]
"""The bytes of a JPEG to uint8 [H, W, 3] RGB."""

PROBE_SIZE = (83, 61)
"""Height and width of the pictures that decoders are compared on; no multiples of a block, so that borders count."""


@functools.cache
def fast_decoder() -> Decoder | None:
    """A decoder that agrees with Pillow's on every bit of the probes, or None."""
    try:
        import simplejpeg
    except ImportError:
        return None

    def decode(data: bytes) -> NDArray[np.uint8]:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB")
        return pixels

    return decode if agrees(decode) else None


def agrees(decode: Decoder) -> bool:
    """Whether a decoder gives Pillow's bits: each way of storing colour, coarse and fine, and progressive."""
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)).resize(PROBE_SIZE[::-1])
    noisy = np.clip(np.asarray(smooth) + rng.normal(0, 12, (*PROBE_SIZE, 3)), 0, 255).astype(np.uint8)
    for subsampling, quality, progressive in ((0, 95, False), (1, 85, False), (2, 75, False), (2, 90, True)):
        stored = io.BytesIO()
        Image.fromarray(noisy).save(stored, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
        with Image.open(stored) as opened:
            expected = np.asarray(opened)
        try:
            found = decode(stored.getvalue())
        except (ValueError, RuntimeError, OSError):
            return False
        if not np.array_equal(found, expected):
            return False
    return True
