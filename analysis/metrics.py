"""Random minus pre-trained beyond AP: other metrics, IoU thresholds, categories; at the longest schedule of both."""

from collections.abc import Callable, Mapping

import numpy as np

from analysis.bootstrap import summary
from analysis.convergence import finals
from analysis.crossover import delta
from analysis.evidence import SettingEvidence
from analysis.examples import category_names
from analysis.leading import LeadingMetric
from analysis.load import StudyTable
from analysis.statistics import Cell, Floats, Interval, make_draws
from analysis.tables import Table, bounds, number, signed

METRICS = {
    "box_ap": "box AP",
    "box_ap50": "box AP50",
    "box_ap75": "box AP75",
    "box_ap_small": "box AP, small",
    "box_ap_medium": "box AP, medium",
    "box_ap_large": "box AP, large",
    "mask_ap": "mask AP",
    "mask_ap50": "mask AP50",
    "mask_ap75": "mask AP75",
    "mask_ap_small": "mask AP, small",
    "mask_ap_medium": "mask AP, medium",
    "mask_ap_large": "mask AP, large",
    "keypoint_ap": "keypoint AP",
    "keypoint_ap50": "keypoint AP50",
    "keypoint_ap75": "keypoint AP75",
    "voc_ap": "VOC AP at IoU 0.5",
    "voc07_ap": "VOC AP of 2007, 11 points",
}
"""Columns of an evaluation row, and what they are called."""

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))

MAX_CATEGORIES = 20
"""Categories a setting that the table lists."""

END = 0
"""Stands for the total of either init at ``SettingEvidence.ends``, which need not be equal."""

_SLICES = {"ap": slice(None), "ap50": slice(0, 1), "ap75": slice(5, 6)}


def metric_deltas(study: StudyTable, found: SettingEvidence) -> list[tuple[str, float, float, Interval]]:
    """Name, mean of random, mean of pre-trained, and the difference, of every metric that the study has.

    Where matches are stored, a metric that they do not give comes without an interval, since one from seeds alone would
    look better than those beside it. The leading metric has the answer's own.
    """
    if not found.ends:
        return []
    last = finals(study)
    chosen = [trial_id for (init, total, _), trial_id in found.trial_ids.items() if found.ends[init] == total]
    last = last[last["trial_id"].isin(chosen)]
    lines = []
    for metric, name in METRICS.items():
        if metric not in last or last[metric].isna().any():
            continue
        values = {
            (str(init), END): dict(zip(part["seed"].astype(int).tolist(), part[metric].tolist(), strict=True))
            for init, part in last.groupby("init", observed=True)
        }
        interval = _difference(found, values, metric)
        means = [float(np.mean(list(values[init, END].values()))) for init in ("random", "pretrained")]
        lines.append((name, means[0], means[1], interval))
    return lines


def matched_kind(metric: LeadingMetric) -> str:
    """Kind of the matches by which thresholds and categories are compared: COCO's of boxes for VOC data too."""
    return metric.matches or "box"


def iou_deltas(found: SettingEvidence) -> list[tuple[float, Interval]]:
    """The difference at each IoU threshold (OKS for keypoints); empty without stored matches of every trial."""

    def pick(threshold: int) -> Callable[[Floats], Floats]:
        return lambda ap: summary(ap, slice(threshold, threshold + 1))

    return [(iou, gap) for t, iou in enumerate(THRESHOLDS) if (gap := _from_matches(found, pick(t))) is not None]


def category_deltas(found: SettingEvidence) -> list[tuple[int, Interval]]:
    """The difference in each category (its place in the list of categories, from 1); largest first."""
    kind = matched_kind(found.metric)
    some = next((ap for (_, one), ap in found.observed_ap.items() if one == kind), None)
    lines = []
    for category in range(0 if some is None else len(some)):

        def pick(ap: Floats, category: int = category) -> Floats:
            mean: Floats = ap[category].mean(axis=0)
            return mean

        gap = _from_matches(found, pick)
        if gap is not None and not np.isnan(gap.value):
            lines.append((category + 1, gap))
    return sorted(lines, key=lambda line: -abs(line[1].value))


def metric_table(study: StudyTable, found: list[SettingEvidence]) -> Table:
    """Every metric of every setting at its longest schedule."""
    lines = []
    for one in found:
        for name, random, pretrained, gap in metric_deltas(study, one):
            setting = (one.label,) if len(found) > 1 else ()
            cells = (number(random), number(pretrained), signed(gap.value), bounds(gap))
            lines.append((name, *setting, one.end_label, *cells))
    setting = ("setting",) if len(found) > 1 else ()
    note = "Mean over seeds at the longest schedule that both inits have finished. Δ is random − pre-trained."
    if not study.leading.has_matches and any(one.draws and one.draws.has_seeds for one in found):
        note += f" The interval of {study.leading.name} is of seeds alone, the others' of pictures too."
    header = ("metric", *setting, "schedule", "random", "pre-trained", "Δ", "95% CI")
    return Table("metrics", "Every metric", header, lines, note)


def category_table(study: StudyTable, found: list[SettingEvidence]) -> Table:
    """The largest differences by category."""
    lines = []
    count = 0
    for one in found:
        categories = category_deltas(one)
        count += len(categories)
        setting = (one.label,) if len(found) > 1 else ()
        names = category_names(study, one)
        for category, gap in categories[:MAX_CATEGORIES]:
            name = names[category - 1] if category <= len(names) else f"category {category}"
            lines.append((name, *setting, signed(gap.value), bounds(gap)))
    setting = ("setting",) if len(found) > 1 else ()
    if count == len(found):  # a single category says what the table of metrics says
        lines = []
    note = (
        f"{matched_kind(study.leading).capitalize()} AP. The largest of {count} differences, picked from many and not "
        "adjusted for that: of 20 such intervals about one misses the truth by chance."
    )
    return Table("categories", "Largest differences by category", ("category", *setting, "Δ", "95% CI"), lines, note)


def _difference(found: SettingEvidence, values: Mapping[Cell, Mapping[int, float]], metric: str) -> Interval:
    kind, _, name = metric.partition("_")
    if metric == found.metric.column:
        return found.end_gap
    if not found.ap_draws:
        return delta(make_draws(values, seed=found.draw_seed), END)
    by_images: dict[Cell, dict[int, Floats]] = {}
    for (init, _), by_seed in values.items():
        drawn = {seed: _drawn(found, found.trial_ids[init, found.ends[init], seed], kind, name) for seed in by_seed}
        by_images[init, END] = {seed: ap for seed, ap in drawn.items() if ap is not None and not np.isnan(ap).any()}
    draws = make_draws(values, by_images, seed=found.draw_seed)
    return delta(draws, END) if draws.has_images else Interval(delta(draws, END).value)


def _drawn(found: SettingEvidence, trial_id: str, kind: str, name: str) -> Floats | None:
    """AP [B] of one metric of one trial under the draws of pictures; None where its matches do not give it."""
    if name in _SLICES:
        ap = found.ap_draws.get((trial_id, kind))
        return None if ap is None else summary(ap, _SLICES[name])
    return found.area_draws.get((trial_id, kind, name.removeprefix("ap_")))


def _from_matches(found: SettingEvidence, pick: Callable[[Floats], Floats]) -> Interval | None:
    if not found.ends:
        return None
    cells: dict[Cell, dict[int, float]] = {}
    by_images: dict[Cell, dict[int, Floats]] = {}
    kind = matched_kind(found.metric)
    for (init, total, seed), trial_id in found.trial_ids.items():
        if total != found.ends[init]:
            continue
        if (trial_id, kind) not in found.ap_draws:
            return None
        cells.setdefault((init, END), {})[seed] = float(pick(found.observed_ap[trial_id, kind][..., None])[0])
        by_images.setdefault((init, END), {})[seed] = pick(found.ap_draws[trial_id, kind])
    has_gaps = any(np.isnan(drawn).any() for by_seed in by_images.values() for drawn in by_seed.values())
    draws = make_draws(cells, by_images, seed=found.draw_seed)
    # A draw without any object of a rare category has no AP in it: then there is no interval to give.
    return Interval(delta(draws, END).value) if has_gaps else delta(draws, END)
