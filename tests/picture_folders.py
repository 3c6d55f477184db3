"""Folders of labelled pictures: classes that differ in colour, so that a few iterations tell them apart."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (40, 60, 190), "green": (60, 180, 50), "red": (200, 50, 60)}


def write_pictures(root: Path, train: int = 7, val: int = 4) -> Path:
    """``root`` with so many pictures a class, of several sizes, kinds and formats."""
    rng = np.random.default_rng(0)
    for split, number in (("train", train), ("val", val)):
        for name, level in COLOURS.items():
            (root / split / name / "deeper").mkdir(parents=True)
            for index in range(number):
                height, width = rng.integers(40, 90, 2)
                pixels = (rng.integers(-25, 25, (height, width, 3)) + level).astype(np.uint8)
                picture = Image.fromarray(pixels)
                if index == 0:
                    picture.convert("RGBA").save(root / split / name / "deeper" / "clear.PNG")
                else:
                    picture.save(root / split / name / f"{index}.jpeg", quality=95)
            (root / split / name / "notes.txt").write_text("no picture")
    return root
