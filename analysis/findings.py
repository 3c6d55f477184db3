"""Every table of the report, from the evidence."""

import math
from collections.abc import Iterator

import pandas as pd

from analysis.arms import NAMES, SETTING
from analysis.convergence import RISING_PER_UNIT, leaps
from analysis.cost import Cost, study_cost, trial_hours
from analysis.crossover import TOLERANCES
from analysis.evidence import SettingEvidence
from analysis.exposure import exposure_lines
from analysis.leading import BOX
from analysis.less_data import data_gaps, data_table, paper_data_table
from analysis.load import StudyTable
from analysis.metrics import category_table, metric_table
from analysis.overfitting import overfitting_table
from analysis.paper import ARMS, beside
from analysis.tables import Table, big, bounds, mean_spread, number, signed
from analysis.verdict import duration


def final_table(found: list[SettingEvidence]) -> Table:
    """Final AP per init and schedule with the difference and its interval: Table 1 of the paper for this study."""
    lines = []
    has_masks = any(arm and arm.mask_values for one in found for line in one.lines for arm in line.arms)
    for one in found:
        for line in one.lines:
            random, pretrained = line.random, line.pretrained
            mask = one.mask_deltas.get(line.total)
            mask_cells = (
                number(random.mask_mean) if random else "–",
                number(pretrained.mask_mean) if pretrained else "–",
                signed(mask.value) if mask else "–",
            )
            seeds = [len(arm.values) if arm else 0 for arm in (random, pretrained)]
            lines.append(
                (
                    *((one.label,) if len(found) > 1 else ()),
                    line.schedule,
                    mean_spread(random.mean, random.spread) if random else "–",
                    mean_spread(pretrained.mean, pretrained.spread) if pretrained else "–",
                    signed(line.delta),
                    bounds(one.deltas.get(line.total)),
                    *(mask_cells if has_masks else ()),
                    str(seeds[0]) if seeds[0] == seeds[1] else f"{seeds[0]} / {seeds[1]}",
                )
            )
    setting = ("setting",) if len(found) > 1 else ()
    masks = ("random mask", "pre-trained mask", "Δ mask AP") if has_masks else ()
    names = ("schedule", "random", "pre-trained", f"Δ {ap_name(found)}", "95% CI", *masks)
    note = "AP in percent at the end of each schedule, mean ± standard deviation over seeds. Δ is random − pre-trained."
    return Table("final", "Final AP per init and schedule", (*setting, *names, "seeds"), lines, note)


def ap_name(found: list[SettingEvidence]) -> str:
    """The leading metric in words."""
    return found[0].metric.name if found else BOX.name


def crossover_table(found: list[SettingEvidence]) -> Table:
    """The crossover for several tolerances."""
    lines = []
    for one in found:
        names = {line.total: line.schedule for line in one.lines}
        cells = []
        for cross in one.crossovers:
            share = "" if math.isnan(cross.share) else f" ({100 * cross.share:.0f}%)"
            cells.append(names[cross.total] if cross.total is not None else f"not here{share}")
        if cells:
            lines.append((one.label if len(found) > 1 else "caught up at", *cells))
    header = ("" if len(found) == 1 else "setting", *(f"δ = {value:g} AP" for value in TOLERANCES))
    note = (
        "The shortest schedule at which the lower bound of random − pre-trained's best is above −δ; pre-trained's best "
        "schedule is chosen anew in each draw. Without an interval the measured numbers are compared. In brackets the "
        "share of the draws in which random init is level at its longest schedule."
    )
    return Table("crossover", "When random init catches up", header, lines, note)


def reach_table(found: list[SettingEvidence]) -> Table:
    """Iterations and images to reach an AP."""
    lines = []
    for one in found:
        for line in one.reach if len(found) == 1 else one.reach[1::2]:
            its, images = line.iterations, line.images
            cells = [number(its.get(init, math.nan), 0) for init in NAMES]
            cells += [number(images.get(init, math.nan), 0) for init in NAMES]
            cells += [
                duration(hours) if not math.isnan(hours := line.hours.get(init, math.nan)) else "–" for init in NAMES
            ]
            ratio = "–" if math.isnan(line.ratio) else f"{line.ratio:.1f}×"
            lines.append((*((one.label,) if len(found) > 1 else ()), number(line.ap), *cells, ratio))
    shares = "25, 50, 75, 90 and 100" if len(found) == 1 else "50 and 90"
    header = (
        *(("setting",) if len(found) > 1 else ()),
        ap_name(found),
        "random, iterations",
        "pre-trained, iterations",
    )
    header = (*header, "random, images", "pre-trained, images")
    header = (*header, "random, device time", "pre-trained, device time", "ratio of iterations")
    note = (
        "First evaluation at or above that AP, by whichever schedule gets there first, mean over seeds; a dash when a "
        f"seed does not. The targets are {shares}% of pre-trained's best. Pre-training itself not counted."
    )
    return Table("reach", "What it takes to reach an AP", header, lines, note)


def converged_table(found: list[SettingEvidence]) -> Table:
    """Whether AP has converged: what the longest schedule gained over the next shorter one, per 1x."""
    lines = []
    for one in found:
        for init, slope in one.slopes.items():
            own = [line for line in one.lines if line.arm(init) is not None][-2:]
            setting = (one.label,) if len(found) > 1 else ()
            cells = (f"{own[0].schedule} → {own[1].schedule}", signed(slope.value), bounds(slope))
            lines.append((NAMES[init], *setting, *cells, "still rising" if init in one.rising else "converged"))
    header = ("init", *(("setting",) if len(found) > 1 else ()), "between", "AP per 1x", "95% CI", "so")
    note = f"AP gained per 1x of longer training. More than {RISING_PER_UNIT:g} counts as still rising."
    return Table("converged", "Has AP converged?", header, lines, note)


def leap_table(study: StudyTable, found: list[SettingEvidence]) -> Table:
    """The leap of AP at each drop of the learning rate, mean over seeds."""
    table = leaps(study) if study.leading.column in study.rows else pd.DataFrame()
    lines: list[tuple[str, ...]] = []
    most = 0
    if len(table):
        table["number"] = table.groupby("trial_id", observed=True).cumcount()
        for line, part in _arms(table, found):
            cells = []
            for _, drop in part.groupby("number"):
                before, after = float(drop["before"].mean()), float(drop["after"].mean())
                cells += [f"{number(before)} → {number(after)}", signed(after - before)]
            lines.append((*line, *cells))
            most = max(most, len(cells) // 2)
    names = ("first drop", "leap", "second drop", "leap", "third drop", "leap")
    header = ("arm", *(("setting",) if len(found) > 1 else ()), *names[: 2 * most])
    lines = [(*line, *("–",) * (len(header) - len(line))) for line in lines]
    note = "AP at the last evaluation up to the drop → at the next one; mean over seeds."
    return Table("leaps", "The leap at each drop of the learning rate", header, lines, note)


def _arms(table: pd.DataFrame, found: list[SettingEvidence]) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """Init and schedule of each setting in words, shortest schedule first, and its trials of ``table``."""
    for one in found:
        own = table[(table[list(SETTING)].astype(str) == list(one.setting)).all(axis=1)]
        for init in NAMES:
            for (_, schedule), part in own[own["init"] == init].groupby(["total", "schedule"], observed=True):
                yield (f"{NAMES[init]}, {schedule}", *((one.label,) if len(found) > 1 else ())), part


def overfitting_lines(study: StudyTable, found: list[SettingEvidence]) -> Table:
    """Training against validation per init, schedule and data size; mean over seeds."""
    table = overfitting_table(study)
    lines = []
    has_train_ap = bool(len(table)) and not table["train_ap"].isna().all()
    for line, part in _arms(table[table["state"] == "complete"], found):
        values = [number(float(part[name].mean()), 2) for name in ("train_loss", "val_loss")]
        values.append(signed(float(part["gap"].mean()), 2))
        low = f"{number(float(part['val_loss_min'].mean()), 2)} at {part['val_loss_min_at'].mean():,.0f}"
        peak = f"{number(float(part['ap_peak'].mean()))} at {part['ap_peak_at'].mean():,.0f}"
        share = int(part["is_overfitting"].sum())
        lines.append(
            (
                *line,
                *values,
                low,
                number(float(part["ap"].mean())),
                peak,
                *((number(float(part["train_ap"].mean())),) if has_train_ap else ()),
                f"yes ({share} of {len(part)})" if share else "no",
            )
        )
    header = (
        "trial",
        *(("setting",) if len(found) > 1 else ()),
        "training loss",
        "validation loss",
        "gap",
        "lowest validation loss",
    )
    header = (*header, study.leading.name, "peak AP", *(("box AP, training pictures",) if has_train_ap else ()))
    note = (
        "At the end of training, mean over seeds; training loss is the mean of the last three rows. Over-fits: the "
        "validation loss ends at least 5% above its lowest while the training loss went on falling."
    )
    return Table("overfitting", "Training against validation", (*header, "over-fits"), lines, note)


def exposure_table(study: StudyTable, found: list[SettingEvidence]) -> Table:
    """What each arm has seen, with pre-training."""
    lines, labels = [], {one.setting: one.label for one in found}
    for line in exposure_lines(study, SETTING):
        cells = []
        for kind in ("images", "instances", "pixels_nominal", "pixels_measured"):
            text = big(line.sum(kind))
            share = line.pretraining.get(kind, 0.0) / line.sum(kind) if line.sum(kind) else 0.0
            is_told = line.init == "random" or kind in line.pretraining
            cells.append(f"{text} ({100 * share:.0f}% before)" if share else text + ("" if is_told else " + ?"))
        setting = (labels.get(line.setting, "–"),) if len(found) > 1 else ()
        lines.append((f"{NAMES[line.init]}, {line.schedule}", *setting, *cells))
    setting = ("setting",) if len(found) > 1 else ()
    header = ("arm", *setting, "images", "instances", "pixels, 800×1333 each", "pixels, as fed")
    note = (
        "Totals of one trial trained alone, with its pre-training; in brackets the share that pre-training had seen. "
        "A question mark: the provenance of the weights does not tell. Nominal pixels count 800×1333 an image and "
        "224×224 one of pre-training, as the paper does."
    )
    return Table("exposure", "What each arm has seen", header, lines, note)


def cost_table(
    study: StudyTable, found: list[SettingEvidence], cost: Cost, price_per_hour: float | None = None
) -> Table:
    """Device-hours (and money) of each arm as if trained alone, with pre-training's share counted and not."""
    hours = trial_hours(study)
    trials = study.trials.assign(hours=hours.reindex(study.trials.index))
    lines = []
    for line, part in _arms(trials[trials["state"] == "complete"], found):
        init, total = str(part["init"].iloc[0]), int(part["total"].iloc[0])
        own = float(part["hours"].mean())
        before = [cost.pretraining_hours.get(str(w), math.nan) for w in part["weights_id"]]
        with_before = own + sum(before) / len(before) if init == "pretrained" else own
        counted = duration(with_before) if not math.isnan(with_before) else "not told"
        price = (_price(own, price_per_hour), _price(with_before, price_per_hour)) if price_per_hour else ()
        lines.append((*line, f"{total:,}", duration(own), counted, *price))
    header = ("arm", *(("setting",) if len(found) > 1 else ()), "iterations", "device time", "with pre-training")
    header = (*header, *(("price", "with pre-training") if price_per_hour else ()))
    note = (
        f"One trial trained alone, mean over seeds. Together all trials trained {cost.iterations:,} iterations; "
        f"without shared trunks it would have been {cost.naive_iterations:,} ({100 * cost.saved_share:.0f}% saved)."
    )
    if price_per_hour:
        note += f" All together, pre-training included: {_price(cost.money(1.0), price_per_hour)}."
    return Table("cost", "What each arm costs", header, lines, note)


def _price(hours: float, price_per_hour: float) -> str:
    return "not told" if math.isnan(hours) else f"{hours * price_per_hour:,.2f}"


def paper_table(found: list[SettingEvidence]) -> Table:
    """Ours, the paper's, and the difference."""
    lines = []
    for one in found:
        if one.metric is not BOX:
            continue
        backbone, norm = one.setting[0], one.setting[1]
        arm = ARMS.get((backbone, norm), "R50 GN")
        for line in beside(one.lines, backbone, norm):
            mark = "" if line.kind == "printed" else " (digitised)"
            cells = (signed(line.ours), signed(line.paper) + mark, signed(line.difference))
            lines.append((line.schedule, *((one.label,) if len(found) > 1 else ()), arm, *cells))
    header = (
        "schedule",
        *(("setting",) if len(found) > 1 else ()),
        "paper's model",
        "Δ ours",
        "Δ paper",
        "ours − paper",
    )
    note = "Δ is random − pre-trained, box AP. The paper's numbers are COCO's: on other data only the shape compares."
    return Table("paper", "The paper beside it", header, lines, note)


def all_tables(
    study: StudyTable, found: list[SettingEvidence], price_per_hour: float | None = None
) -> dict[str, Table]:
    """Every table that has lines, by name."""
    gaps = data_gaps(study, found)
    tables = [
        final_table(found),
        crossover_table(found),
        converged_table(found),
        reach_table(found),
        leap_table(study, found),
    ]
    tables += [data_table(study, gaps), paper_data_table()] if gaps else []
    tables += [
        overfitting_lines(study, found),
        metric_table(study, found),
        category_table(study, found),
        exposure_table(study, found),
    ]
    tables += [cost_table(study, found, study_cost(study), price_per_hour), paper_table(found)]
    return {table.name: table for table in tables if table.lines}
