"""What ``raystudy inspect`` tells of a data set: what is there, what is wrong with it, and what would suit it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from raystudy.data.coco import CocoDataset
from raystudy.data.defaults import DataDefaults, data_defaults, suggested_unit
from raystudy.data.pictures import picture_mode
from raystudy.data.preflight import checked_pictures, preflight
from raystudy.data.resolve import resolve_data
from raystudy.data.sheet import write_sheet
from raystudy.data.splits import SPLITS, open_split
from raystudy.data.subset import statistics_of
from raystudy.errors import DataError
from raystudy.spec.data import DataSpec

DEMO_BATCH = 4
"""Images of an iteration on one CPU core."""

SMALL, LARGE = 32**2, 96**2
"""COCO's bounds between small, medium and large objects, area in pixels."""

MOST_LISTED = 12
"""Categories that the text names at either end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitReport:
    """What one split holds."""

    statistics: dict[str, Any]
    """As ``statistics_of`` has them."""

    crowds: int
    difficult: int
    sizes: tuple[int, int, int, int, int, int]
    """Smallest, median and largest width, then height, of the pictures, pixels."""

    objects: tuple[int, int, int]
    """Small, medium and large, by the area of their boxes as COCO counts."""

    modes: dict[str, int]
    """Kinds of pictures, as Pillow calls them, among those that were decoded."""

    @property
    def annotations(self) -> int:
        """All that can be used: instances, crowd regions and difficult objects."""
        return int(self.statistics["instances"]) + self.crowds + self.difficult


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """A data set, looked at."""

    source: str
    data: DataSpec | None
    """None when it cannot be used at all."""

    splits: dict[str, SplitReport] = field(default_factory=dict)
    categories: tuple[tuple[int, str], ...] = ()
    """Id and name, label 1 first."""

    num_keypoints: int = 0
    has_masks: bool = False
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """What stops nothing, but is worth knowing."""

    defaults: DataDefaults | None = None
    batch: int = DEMO_BATCH
    unit: int = 0
    """Suggested iterations of 1x at ``batch`` images an iteration."""

    is_thorough: bool = False

    def text(self) -> str:
        """For people."""
        from raystudy.data.inspection_text import inspection_text

        return inspection_text(self)

    def write_sheet(self, path: Path, pictures_each: int = 6) -> None:
        """Write a PNG with a sample of the pictures, their boxes, masks and names.

        Raises:
            DataError: the data cannot be used.
        """
        if self.data is None:
            raise DataError(list(self.problems))
        data = self.data
        write_sheet(path, {split: open_split(data, split) for split in SPLITS}, pictures_each)


def inspect(source: str, thorough: bool = False) -> Inspection:
    """Look at the data that ``source`` names; what is wrong with it is told, not raised.

    Args:
        source: as ``resolve_data`` takes it.
        thorough: decode every picture instead of a sample.
    """
    return inspect_named(lambda: resolve_data(source), source, thorough)


def inspect_named(resolve: Callable[[], DataSpec], source: str, thorough: bool = False) -> Inspection:
    """As ``inspect``, of the data that ``resolve`` finds; ``source`` is what people call them."""
    try:
        data = resolve()
    except DataError as e:
        return Inspection(source=source, data=None, problems=tuple(e.problems), is_thorough=thorough)
    return inspect_data(data, source, thorough)


def inspect_data(data: DataSpec, source: str, thorough: bool = False) -> Inspection:
    """As ``inspect``, of data that are resolved already."""
    problems = preflight(data, thorough=thorough)
    try:
        opened = {split: open_split(data, split) for split in SPLITS}
    except DataError as e:
        told = tuple(dict.fromkeys([*problems, *e.problems]))
        return Inspection(source=source, data=None, problems=told, is_thorough=thorough)
    train = opened["train"]
    return Inspection(
        source=source,
        data=data,
        splits={split: _report(dataset, thorough) for split, dataset in opened.items()},
        categories=tuple(zip(train.label_to_category_id.values(), train.categories, strict=True)),
        num_keypoints=train.num_keypoints,
        has_masks=train.has_masks and opened["val"].has_masks,
        problems=tuple(problems),
        warnings=tuple(_warnings(train, opened["val"])),
        defaults=data_defaults(data) if train.instance_counts.any() else None,
        unit=suggested_unit(len(train), DEMO_BATCH),
        is_thorough=thorough,
    )


def _report(dataset: CocoDataset, thorough: bool) -> SplitReport:
    boxes, repairs = dataset.all_boxes(), dataset.repairs
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    spread = [int(f(side)) for side in (dataset.widths, dataset.heights) for f in (np.min, np.median, np.max)]
    modes: dict[str, int] = {}
    for index in checked_pictures(len(dataset), thorough):
        mode = picture_mode(dataset.image_path(index))
        modes[mode] = modes.get(mode, 0) + 1
    return SplitReport(
        statistics=statistics_of(dataset),
        crowds=repairs.get("crowd regions kept out of training", 0),
        difficult=repairs.get("difficult objects kept out of training", 0),
        sizes=(spread[0], spread[1], spread[2], spread[3], spread[4], spread[5]),
        objects=(
            int((areas < SMALL).sum()),
            int(((areas >= SMALL) & (areas < LARGE)).sum()),
            int((areas >= LARGE).sum()),
        ),
        modes=dict(sorted(modes.items())),
    )


def _warnings(train: CocoDataset, val: CocoDataset) -> list[str]:
    found = []
    absent = statistics_of(train)["absent_categories"]
    if absent:
        found.append(
            f"{len(absent)} of {len(train.categories)} categories have no instance to train on: {_named(absent)}"
        )
    of_train, of_val = ({dataset.image_path(index) for index in range(len(dataset))} for dataset in (train, val))
    shared = sorted(str(path) for path in of_train & of_val)
    if shared:
        found.append(f"{len(shared)} of {len(val)} validation pictures are trained on too: {_named(shared)}")
    return found


def _named(items: list[str]) -> str:
    return ", ".join(items[:MOST_LISTED]) + (", …" if len(items) > MOST_LISTED else "")
