"""What a plan says of its data: what each training set holds, and what each arm will have seen."""

import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from raystudy.console import text_table
from raystudy.spec.data import DataSpec
from raystudy.spec.exposure import ArmExposure, DataCounts, Seen, expected_exposure, known_counts
from raystudy.spec.plan import Plan
from raystudy.spec.study import StudySpec
from raystudy.spec.trial import InitSpec

MOST_NAMED = 5
"""Categories without an instance that are named."""

_INITS = {"random": "random", "pretrained": "pre-trained"}
_KINDS = (("images", "images"), ("instances", "instances"), ("pixels", "pixels_nominal"))
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"))


def plan_parts(plan: Plan) -> list[RenderableType]:
    """Both tables, for a console."""
    data, (exposure, sources) = data_lines(plan), exposure_lines(plan)
    parts: list[RenderableType] = [Text(), text_table(data)] if data else []
    told = f"instances by {sources[0]}" if sources else "instances are known once the data is at hand"
    title = Text(f"\nExposure at the end of each arm, as the paper's Figure 2 counts; {told}")
    return [*parts, title, text_table(exposure), Text()]


def left_out_line(study: StudySpec) -> str:
    """The levels that no trial has, since the study leaves out their cells; empty when each has one."""
    trained = {(axis, level) for names, _ in study.cells() for axis, level in names.items()}
    empty = [f"{a.name} {level.name}" for a in study.axes for level in a.levels if (a.name, level.name) not in trained]
    return f"No trial of {', '.join(empty)}: the study leaves them out with the other levels as given" if empty else ""


def unit_line(study: StudySpec) -> str:
    """How long 1x is on the study's training set, and how long it would be with as many passes as the paper's.

    Empty where the number of pictures is not known in a moment.
    """
    from raystudy.data.defaults import PAPER_PASSES, suggested_unit
    from raystudy.data.plan_statistics import quick_statistics

    data, batch = study.base.data, study.base.workers * study.base.images_per_worker
    known, found = known_counts(data), quick_statistics(data)
    images = found["images"] if found is not None else int(known.images) if known is not None else 0
    if not images or not study.unit:
        return ""
    passes, wanted = study.unit * batch / images, suggested_unit(images, batch)
    line = f"1x is {study.unit:,} iterations of {batch} images, {passes:.3g} passes over {images:,} images"
    if data.format == "shapes" or 2 / 3 < wanted / study.unit < 3 / 2:
        return line
    return f"{line}; with {PAPER_PASSES:.3g} as the paper's over COCO it would be --unit {wanted}"


def data_lines(plan: Plan) -> list[list[str]]:
    """The training sets of the plan, header first; empty when none is at hand.

    Annotations that are large, far away or not made yet are left out rather than waited for.
    """
    from raystudy.data.plan_statistics import quick_statistics

    lines = []
    for data in dict.fromkeys(trial.data for trial in plan.trials.values()):
        found = quick_statistics(data)
        if found is None:
            continue
        per_category, absent = found["instances_per_category"], found["absent_categories"]
        named = ", ".join(absent[:MOST_NAMED]) + (", …" if len(absent) > MOST_NAMED else "")
        lines.append(
            [
                f"{data.name} {data.subset_label}",
                f"{len(per_category) - len(absent)} of {len(per_category)}" + (f", without {named}" if absent else ""),
                f"{found['images']:,}",
                f"{found['instances']:,}",
                f"{found['instances_per_image']['mean']:.1f}",
                _range(list(per_category.values())),
            ]
        )
    header = ["training set", "categories", "images", "instances", "an image", "a category"]
    return [header, *lines] if lines else []


def exposure_lines(plan: Plan) -> tuple[list[list[str]], list[str]]:
    """What each arm will have seen, header first, and where the numbers are from."""
    sources: dict[str, None] = {}

    def counts_of(data: DataSpec) -> DataCounts | None:
        found = _counts(data)
        if found is not None:
            sources[found.source] = None
        return found

    arms = expected_exposure(plan, counts_of, _seen_by)
    sizes, categories = ({getattr(arm, name) for arm in arms} for name in ("data", "categories"))
    lines = []
    for arm in arms:
        size = f", {arm.data}" if len(sizes) > 1 else ""
        few = f", {arm.categories} categories" if len(categories) > 1 else ""
        lines.append([f"{_INITS[arm.init]}, {arm.schedule}{size}{few}", *_totals(arm)])
    return [["arm", "images", "instances", "pixels, 800×1333 each"], *lines], list(sources)


def quantity(value: float) -> str:
    """``131.0M``, ``9.5T`` or ``6,480``; a question mark for nan."""
    if math.isnan(value):
        return "?"
    for size, unit in _UNITS:
        if value >= size:
            return f"{value / size:.1f}{unit}"
    return f"{value:,.0f}"


def _counts(data: DataSpec) -> DataCounts | None:
    from raystudy.data.plan_statistics import quick_statistics

    known = known_counts(data)
    found = quick_statistics(data) if known is None else None
    if found is None:
        return known
    trained_on = found["images"] - found["images_without_instances"]
    return DataCounts(images=trained_on, instances=found["instances"], source="the annotations of what is trained on")


def _seen_by(init: InitSpec) -> Seen:
    """What the weights in a file have seen, where the file tells; an address is not fetched for it."""
    from raystudy.models.weights_origin import origin

    path = Path(init.weights_file)
    told = origin(path).exposure() if path.is_file() else {}
    return Seen(**{kind: told.get(name, math.nan) for kind, name in _KINDS})


def _totals(arm: ArmExposure) -> list[str]:
    before = arm.pretraining or Seen()
    pairs = (
        (arm.total.images, before.images),
        (arm.total.instances, before.instances),
        (arm.total.pixels, before.pixels),
    )
    return [quantity(total) + _share(part, total) for total, part in pairs]


def _share(part: float, total: float) -> str:
    """How much of it was seen in pre-training."""
    return f" ({part / total:.0%} before)" if part and not math.isnan(total) else ""


def _range(counts: Sequence[int]) -> str:
    least, most = min(counts), max(counts)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
