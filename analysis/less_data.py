"""Less data: the gap at each data size, where random init breaks down, and the paper's numbers for it."""

import math

import pandas as pd

from analysis.arms import NAMES, SETTING
from analysis.crossover import DEFAULT_TOLERANCE, BreakEven, break_even, break_even_size, gap_draws
from analysis.evidence import SettingEvidence
from analysis.load import StudyTable
from analysis.overfitting import BreakDown, break_down, overfitting_table
from analysis.paper import DATA_SIZES
from analysis.statistics import Interval
from analysis.tables import Table, bounds, number, signed


def data_gaps(study: StudyTable, found: list[SettingEvidence]) -> dict[float, tuple[SettingEvidence, Interval]]:
    """Training images -> the setting and its gap of bests; empty unless at least two sizes of one thing compare."""
    sizes = study.trials.groupby(list(SETTING), observed=True)["train_images"].first()
    shares = study.trials.groupby(list(SETTING), observed=True)["fraction"].first()
    has_sizes = not sizes.isna().any()
    groups: dict[tuple[str, ...], dict[float, tuple[SettingEvidence, Interval]]] = {}
    for one in found:
        if one.of_bests is not None:
            size = float((sizes if has_sizes else 100 * shares)[one.setting])
            groups.setdefault((*one.setting[:2], one.setting[3]), {})[size] = (one, one.of_bests)
    largest = max(groups.values(), key=len, default={})
    return dict(sorted(largest.items())) if len(largest) > 1 else {}


def data_table(study: StudyTable, gaps: dict[float, tuple[SettingEvidence, Interval]]) -> Table:
    """Less data: best AP of each init at each size, most data first, the gap, and the break-down signature."""
    table = overfitting_table(study)
    lines = []
    for one, gap in reversed(gaps.values()):
        own = table[(table[list(SETTING)].astype(str) == list(one.setting)).all(axis=1)]
        losses = {init: _longest_loss(own[own["init"] == init]) for init in NAMES}
        assert one.draws is not None
        best = {init: max(ap for (i, _), ap in one.draws.observed.items() if i == init) for init in NAMES}
        signature = break_down(losses["random"], losses["pretrained"], gap)
        lines.append(
            (
                one.setting[2],
                number(best["random"]),
                number(best["pretrained"]),
                signed(gap.value),
                bounds(gap),
                number(losses["random"], 2),
                number(losses["pretrained"], 2),
                _signature_words(signature),
            )
        )
    header = ("data", "random", "pre-trained", "Δ", "95% CI", "training loss, random", "pre-trained", "break-down")
    note = (
        f"Best {study.leading.name} over schedules and the training loss at the longest one. "
        "Break-down, the paper's signature: random init fits its training pictures as well (training loss at most 10% "
        "above), yet its AP stays behind."
    )
    return Table("data", "Less data", header, lines, note)


def break_even_words(gaps: dict[float, tuple[SettingEvidence, Interval]]) -> str:
    """Where training from scratch breaks down, in a sentence."""
    found: BreakEven = break_even({size: gap for size, (_, gap) in gaps.items()})
    names = {size: one.setting[2] for size, (one, _) in gaps.items()}
    known = all(gap.is_known for _, gap in gaps.values())
    by = "the 95% interval of the gap leaves zero" if known else f"the measured gap exceeds {DEFAULT_TOLERANCE:g} AP"
    if found.below is None:
        return f"No break-down is shown, down to {names[min(names)]}."
    if found.above is None:
        return f"Pre-training wins at every size tried, up to {names[found.below]} ({by})."
    return f"Random init breaks down between {names[found.below]} and {names[found.above]}: from there down, {by}."


def break_even_size_words(gaps: dict[float, tuple[SettingEvidence, Interval]], is_images: bool) -> str:
    """The data size at which random init falls more than 1 AP behind, with its interval; empty where it is none."""
    cells = {size: (gap.value, gap_draws(one.draws)) for size, (one, gap) in gaps.items() if one.draws is not None}
    if len(cells) < 2:
        return ""
    found = break_even_size(cells)
    unit = "pictures" if is_images else "% of the pictures"
    if found.value in (0.0, math.inf):
        return ""
    size = f"{found.value:,.0f} {unit}"
    text = f"Read between the sizes, random init falls {DEFAULT_TOLERANCE:g} AP behind below some {size}"
    if not found.is_known:
        return f"{text}; no interval can be given."
    low = "below the smallest size" if found.low == 0 else f"{found.low:,.0f}"
    high = "above the largest size" if found.high == math.inf else f"{found.high:,.0f}"
    return f"{text} (95% CI {low} … {high})."


def paper_data_table() -> Table:
    """The paper's numbers with less data, all printed."""
    lines = [
        (f"{size:,} images", number(random), number(pretrained), signed(random - pretrained), place)
        for size, (random, pretrained, place) in sorted(DATA_SIZES.items())
    ]
    note = "Mask R-CNN R50-FPN GN on subsets of COCO, as printed; learning rates were tuned again below 118k images."
    header = ("paper's data", "random", "pre-trained", "Δ", "printed in")
    return Table("paper_data", "The paper with less data", header, lines, note)


def _longest_loss(part: pd.DataFrame) -> float:
    if not len(part):
        return math.nan
    return float(part[part["total"] == part["total"].max()]["train_loss"].mean())


def _signature_words(found: BreakDown) -> str:
    if found.is_shown:
        return "yes"
    if found.val_behind:
        return "no: behind, but training loss is too"
    return "no"
