"""The flags that say which data a study takes, and which parts of its training set."""

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any

from raystudy.errors import SpecError
from raystudy.spec.data import DataSpec
from raystudy.spec.exposure import COCO_TRAIN
from raystudy.spec.study import Axis, Level, StudySpec

DATA_AXES = ("data", "fraction", "images")
"""Axes that vary how many images are trained on, by name."""

_AMOUNT = ("data.fraction", "data.num_images")


def add_pair_flags(parser: argparse._ActionsContainer) -> None:
    """Two COCO jsons with their folders of pictures, wherever they lie."""
    for split in ("train", "val"):
        parser.add_argument(f"--{split}", nargs=2, metavar=("IMAGES", "JSON"), help=f"{split} pictures and COCO json")


def add_subset_flags(parser: argparse._ActionsContainer) -> None:
    """Parts of the training set; validation is always whole."""
    parser.add_argument("--images", type=_counts, help="sizes of the training set, such as 35000,10000,3500,1000")
    parser.add_argument("--fractions", type=_shares, help="sizes as shares, such as 1,0.3,0.1")
    parser.add_argument("--stratified", action="store_true", help="every size holds every category, or is refused")


def names_data(options: argparse.Namespace) -> bool:
    """Whether ``--data``, or ``--train`` and ``--val``, name any data."""
    return bool(options.data or options.train or options.val)


def named_data(options: argparse.Namespace, with_keypoints: bool = False) -> DataSpec:
    """The data that ``--data``, or ``--train`` and ``--val``, name.

    Raises:
        RaystudyError: they contradict each other, or what they name cannot be used.
    """
    from raystudy.data.resolve import resolve_data, resolve_pair

    if options.train is None and options.val is None:
        return resolve_data(options.data, with_keypoints=with_keypoints)
    if options.data is not None:
        raise SpecError("data is named twice: give a folder with both splits, or --train and --val")
    if options.train is None or options.val is None:
        raise SpecError("--train and --val come together, each with a folder of pictures and a COCO json")
    return resolve_pair(*options.train, *options.val)


def with_subsets(study: StudySpec, options: argparse.Namespace) -> StudySpec:
    """The study on the sizes of training set that ``--images`` or ``--fractions`` ask for.

    They take the place of an axis of sizes, or come as an axis of their own. Where the levels of that axis have a
    recipe for each size, a size keeps its own, and another takes that of the next larger one.

    Raises:
        SpecError: both were given.
    """
    if options.images and options.fractions:
        raise SpecError("sizes are given by --images or by --fractions, not by both; drop one")
    if options.stratified:
        data = dataclasses.replace(study.base.data, stratified=True)
        study = dataclasses.replace(study, base=dataclasses.replace(study.base, data=data))
    wanted = [(f"{count:,} images", {"data.num_images": count, "data.fraction": 1.0}) for count in options.images or ()]
    wanted += [
        (f"{share * 100:g}%", {"data.fraction": share, "data.num_images": None}) for share in options.fractions or ()
    ]
    if not wanted:
        return study
    known = next((axis for axis in study.axes if axis.name in DATA_AXES), Axis(name="data", levels=()))
    levels = [level for name, amount in wanted for level in _levels_of(known, name, amount)]
    return study.with_axis(Axis(name=known.name, levels=tuple(levels)))


def _levels_of(axis: Axis, name: str, amount: dict[str, Any]) -> list[Level]:
    """The levels of one size: as those of the next larger size of the axis, or of its largest."""
    size = _size(amount)
    sizes = sorted({_size(level.overrides) for level in axis.levels})
    nearest = next((known for known in sizes if known >= size), sizes[-1] if sizes else 0.0)
    recipes = [_recipe(level) for level in axis.levels if _size(level.overrides) == nearest] or [{}]
    return [
        Level(name=f"{name} at {recipe['schedule'].name}" if "schedule" in recipe else name, overrides=recipe | amount)
        for recipe in recipes
    ]


def _recipe(level: Level) -> dict[str, Any]:
    return {path: value for path, value in level.overrides.items() if path not in _AMOUNT}


def _size(overrides: Mapping[str, Any]) -> float:
    """In pictures of COCO, so that shares and numbers compare."""
    count = overrides.get("data.num_images")
    return float(count if count is not None else overrides.get("data.fraction", 1.0) * COCO_TRAIN.images)


def _counts(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdecimal() and int(word) > 0 for word in words):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers of images such as 35000,10000")
    return tuple(int(word) for word in words)


def _shares(text: str) -> tuple[float, ...]:
    try:
        shares = tuple(float(word) for word in text.split(",") if word.strip())
    except ValueError:
        shares = ()
    if not shares or not all(0 < share <= 1 for share in shares):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of shares above 0 and up to 1, such as 1,0.3,0.1")
    return shares
