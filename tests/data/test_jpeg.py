"""The optional JPEG library gives Pillow's bits or is not used."""

import builtins
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from raystudy.data import pictures
from raystudy.data.jpeg import agrees, fast_decoder
from raystudy.data.pictures import read_picture
from raystudy.errors import DataError
from tests.data.synthetic import shared


@pytest.fixture
def _fresh() -> Iterator[None]:
    fast_decoder.cache_clear()
    yield
    fast_decoder.cache_clear()


def plain(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.array(opened.convert("RGB"))


def same_outcome(path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether ``read_picture`` ends alike with and without the library."""

    def outcome() -> Any:
        try:
            return read_picture(path, *size).tobytes()
        except DataError as e:
            return str(e)

    found = outcome()
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "fast_decoder", lambda: None)
        return bool(found == outcome())


def test_real_pictures_have_pillows_bits() -> None:
    paths = sorted((shared("coco_permissive") / "images").iterdir())[:30]
    for path in paths:
        expected = plain(path)
        assert np.array_equal(read_picture(path, *expected.shape[:2]), expected)


def test_cut_and_damaged_jpegs_end_as_with_pillow_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if fast_decoder() is None:
        pytest.skip("simplejpeg is not installed, or differs from Pillow")
    stored = io.BytesIO()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 48, 3), dtype=np.uint8)).save(stored, "JPEG", quality=90)
    whole = stored.getvalue()
    damaged = whole[:900] + b"\xff\xd9\x00\xff" + whole[904:]
    for number, data in enumerate((whole, whole[:-2], whole[:-200], whole[:700], whole[:60], damaged, whole + b"more")):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(data)
        assert same_outcome(path, (64, 48), monkeypatch), number


def test_turned_grey_and_cmyk_jpegs_are_pillows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8))
    colour.save(tmp_path / "turned.jpg", exif=exif)
    colour.convert("L").save(tmp_path / "grey.jpg")
    colour.convert("CMYK").save(tmp_path / "print.jpg")
    for name, size in (("turned", (16, 24)), ("turned", (24, 16)), ("grey", (24, 16)), ("print", (24, 16))):
        assert same_outcome(tmp_path / f"{name}.jpg", size, monkeypatch)
        assert read_picture(tmp_path / f"{name}.jpg", *size).shape == (*size, 3)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda pixels: pixels ^ (np.arange(pixels.size).reshape(pixels.shape) == 5),
        lambda pixels: pixels[:, ::-1],
        lambda pixels: pixels[:-1],
    ],
)
def test_a_decoder_that_differs_in_one_bit_is_refused(spoil: Callable[[np.ndarray], np.ndarray]) -> None:
    def pillow(data: bytes) -> np.ndarray:
        return np.array(Image.open(io.BytesIO(data)))

    def broken(data: bytes) -> np.ndarray:
        raise RuntimeError("no such codec")

    assert agrees(pillow)
    assert not agrees(lambda data: spoil(pillow(data)))
    assert not agrees(broken)


@pytest.mark.usefixtures("_fresh")
def test_without_the_library_pillow_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "simplejpeg":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert fast_decoder() is None
