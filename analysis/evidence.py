"""All that a study shows about one setting, with its intervals: what the sentence and the page are made from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.arms import SETTING, setting_label
from analysis.bootstrap import AREAS, StoredMatches, average_precision, draw_images, read_matches, summary
from analysis.convergence import RISING_PER_UNIT, ScheduleLine, Setting, convergence_lines, settings
from analysis.cost import Reach, reach, with_hours
from analysis.crossover import Crossover, crossovers, delta, delta_of_bests, delta_to_best
from analysis.files import StorageReader
from analysis.leading import LeadingMetric
from analysis.load import StudyTable
from analysis.statistics import NUM_DRAWS, Cell, Draws, Floats, Interval, make_draws
from raystudy.errors import StorageError

MAX_AP_ERROR = 0.01
"""Difference, AP, between stored matches and the trial's last row that rounding may explain."""

MASK = "mask"
KINDS = ("box", MASK, "keypoint")
"""Of stored matches."""

REACH_SHARES = (0.25, 0.5, 0.75, 0.9, 1.0)
"""Of pre-trained's best AP: the targets of the table of speed."""


@dataclass(frozen=True)
class SettingEvidence:
    """One setting: both inits at every schedule that is finished."""

    setting: Setting
    label: str
    metric: LeadingMetric
    """By which the inits are compared; that of the whole study."""

    lines: list[ScheduleLine]
    draws: Draws | None
    """None while no trial is finished."""

    deltas: Mapping[int, Interval]
    """Total iterations -> random - pre-trained, AP, at that schedule."""

    mask_deltas: Mapping[int, Interval]
    to_best: Mapping[int, Interval]
    """Total iterations -> random at that schedule - pre-trained at its best."""

    of_bests: Interval | None
    crossovers: list[Crossover]
    slopes: Mapping[str, Interval]
    """Init -> AP gained per 1x between the two longest schedules."""

    reach: list[Reach]
    trial_ids: Mapping[tuple[str, int, int], str]
    """(init, total iterations, seed) -> trial_id of every complete trial."""

    ap_draws: Mapping[tuple[str, str], Floats]
    """(trial_id, kind of ``KINDS``) -> AP [K, T, B] of each draw of pictures; empty without stored matches."""

    observed_ap: Mapping[tuple[str, str], Floats]
    """(trial_id, kind of ``KINDS``) -> AP [K, T] of the pictures as they are."""

    draw_seed: int
    """Of the draws of seeds' luck: another in each setting, since their trainings are independent."""

    area_draws: Mapping[tuple[str, str, str], Floats]
    """(trial_id, kind, ``small``, ``medium`` or ``large``) -> AP [B]; trials of the longest schedule of both inits."""

    @property
    def both(self) -> list[ScheduleLine]:
        """Schedules at which both inits are finished, shortest first."""
        return [line for line in self.lines if not math.isnan(line.delta)]

    @property
    def rising(self) -> list[str]:
        """Inits whose AP still rises by more than ``RISING_PER_UNIT`` per 1x at their longest schedule."""
        return [init for init, slope in self.slopes.items() if slope.value > RISING_PER_UNIT]

    @property
    def num_seeds(self) -> int:
        """Seeds of the arm that has fewest at ``ends``; 0 without one."""
        return min((self.draws.num_seeds[cell] for cell in self.ends.items()), default=0) if self.draws else 0

    @property
    def ends(self) -> dict[str, int]:
        """Init -> total iterations at which the two are compared: the longest schedule of both, else each one's own.

        Some of the paper's comparisons have no schedule in common (VOC: 144k against 18k). Empty while one is missing.
        """
        if self.draws is None or self.of_bests is None:
            return {}
        return {
            init: self.both[-1].total if self.both else self.draws.totals(init)[-1] for init in ("random", "pretrained")
        }

    @property
    def end_label(self) -> str:
        """The schedules of ``ends`` in words: 6x, or 9x and 6x where they differ."""
        names = {line.total: line.schedule for line in self.lines}
        return " and ".join(dict.fromkeys(names[total] for total in self.ends.values()))

    @property
    def end_gap(self) -> Interval:
        """Random minus pre-trained at ``ends``."""
        assert self.draws is not None
        random, pretrained = self.ends["random"], self.ends["pretrained"]
        return self.draws.interval(lambda ap: ap["random", random] - ap["pretrained", pretrained])


def evidence(study: StudyTable) -> list[SettingEvidence]:
    """The evidence of each setting of the study."""
    constant = tuple(name for name in SETTING if study.trials[name].nunique() <= 1)
    lines = convergence_lines(study)
    matches, val = _MatchesOfStudy(study), with_hours(study)
    found = []
    for position, setting in enumerate(settings(study)):
        label = setting_label(dict(zip(SETTING, setting, strict=True)), constant)
        own = [line for line in lines if line.setting == setting]
        found.append(_setting_evidence(study, setting, label, own, matches, val, position))
    return found


def differences(found: list[SettingEvidence]) -> list[tuple[str, Interval]]:
    """Random minus pre-trained at each schedule of both, or at the ends that are compared where they share none."""
    gaps = []
    for one in found:
        own = [(line.schedule, one.deltas[line.total]) for line in one.both]
        if not own and one.ends:
            own = [(one.end_label, one.end_gap)]
        gaps += [(f"{schedule}, {one.label}" if len(found) > 1 else schedule, gap) for schedule, gap in own]
    return gaps


def _setting_evidence(
    study: StudyTable,
    setting: Setting,
    label: str,
    lines: list[ScheduleLine],
    matches: "_MatchesOfStudy",
    val: pd.DataFrame,
    draw_seed: int,
) -> SettingEvidence:
    trial_ids = _final_trials(study, setting)
    draws = _draws(lines, trial_ids, matches, study.leading.matches, draw_seed)
    mask_draws = _draws(lines, trial_ids, matches, MASK, draw_seed)
    shared = [line.total for line in lines if not math.isnan(line.delta)]
    has_both = draws is not None and bool(draws.totals("random")) and bool(draws.totals("pretrained"))
    last = {
        init: shared[-1] if shared else max(draws.totals(init))
        for init in ("random", "pretrained")
        if draws and has_both
    }
    keys = [(trial_id, kind) for trial_id in trial_ids.values() for kind in KINDS]
    longest = [trial_id for (init, total, _), trial_id in trial_ids.items() if last.get(init) == total]
    area_keys = [(trial_id, kind, area) for trial_id in longest for kind in ("box", MASK) for area in AREAS[1:]]
    return SettingEvidence(
        setting=setting,
        label=label,
        metric=study.leading,
        lines=lines,
        draws=draws,
        deltas={total: delta(draws, total) for total in shared} if draws else {},
        mask_deltas={total: delta(mask_draws, total) for total in shared} if mask_draws else {},
        to_best={t: delta_to_best(draws, t) for t in draws.totals("random")} if has_both and draws else {},
        of_bests=delta_of_bests(draws) if has_both and draws else None,
        crossovers=crossovers(draws) if has_both and draws else [],
        slopes={init: slope for init in ("random", "pretrained") if (slope := _slope(draws, init, study.unit))},
        reach=_reach(val[_in_setting(val, setting)], draws, study.leading.column),
        trial_ids=trial_ids,
        ap_draws={key: ap for key in keys if (ap := matches.draws(*key)) is not None},
        observed_ap={key: ap for key in keys if (ap := matches.observed(*key)) is not None},
        draw_seed=draw_seed,
        area_draws={key: ap for key in area_keys if (ap := matches.area_draws(*key)) is not None},
    )


def _draws(
    lines: list[ScheduleLine],
    trial_ids: Mapping[tuple[str, int, int], str],
    matches: "_MatchesOfStudy",
    kind: str,
    draw_seed: int,
) -> Draws | None:
    values: dict[Cell, Mapping[int, float]] = {}
    by_images: dict[Cell, dict[int, Floats]] = {}
    for line in lines:
        for init in ("random", "pretrained"):
            arm = line.arm(init)
            if arm is None:
                continue
            by_seed = arm.mask_values if kind == MASK else arm.values
            if not by_seed:
                return None
            values[init, line.total] = by_seed
            found = {seed: matches.draws(trial_ids[init, line.total, seed], kind) for seed in by_seed if kind}
            by_images[init, line.total] = {seed: summary(ap) for seed, ap in found.items() if ap is not None}
    return make_draws(values, by_images, seed=draw_seed) if values else None


def _slope(draws: Draws | None, init: str, unit: int) -> Interval | None:
    totals = draws.totals(init) if draws is not None else []
    if draws is None or len(totals) < 2:
        return None
    last, before = totals[-1], totals[-2]
    return draws.interval(lambda ap: (ap[init, last] - ap[init, before]) * (unit / (last - before)))


def _reach(val: pd.DataFrame, draws: Draws | None, metric: str) -> list[Reach]:
    if draws is None or not draws.totals("pretrained"):
        return []
    best = max(ap for (init, _), ap in draws.observed.items() if init == "pretrained")
    return reach(val, [share * best for share in REACH_SHARES], metric)


def _final_trials(study: StudyTable, setting: Setting) -> dict[tuple[str, int, int], str]:
    """(init, total, seed) -> trial_id of the complete trials of a setting."""
    trials = study.trials[_in_setting(study.trials, setting) & (study.trials["state"] == "complete")]
    keys = zip(trials["init"].tolist(), trials["total"].tolist(), trials["seed"].tolist(), strict=True)
    return dict(zip(keys, trials.index.astype(str), strict=True))


def _in_setting(table: pd.DataFrame, setting: Setting) -> "pd.Series[bool]":
    mask = pd.Series(True, index=table.index)
    for name, value in zip(SETTING, setting, strict=True):
        mask &= table[name].astype(str) == value
    return mask


class _MatchesOfStudy:
    """AP under the draws of pictures, of trials whose final matches are stored; read once each."""

    def __init__(self, study: StudyTable) -> None:
        self._study = study
        self._reader = StorageReader(study.storage)
        self._places: dict[tuple[str, int], str | None] = {}
        self._found: dict[tuple[str, str], tuple[Floats, Floats] | None] = {}

    def draws(self, trial_id: str, kind: str) -> Floats | None:
        """[K, T, B], percent."""
        found = self._get(trial_id, kind)
        return None if found is None else found[0]

    def observed(self, trial_id: str, kind: str) -> Floats | None:
        """[K, T], percent."""
        found = self._get(trial_id, kind)
        return None if found is None else found[1]

    def area_draws(self, trial_id: str, kind: str, area: str) -> Floats | None:
        """AP [B], percent, of the objects of one size; not remembered."""
        matches = self._read(trial_id, kind)
        if matches is None or matches.object_ignored[AREAS.index(area)].all():
            return None
        return summary(average_precision(matches, draw_images(len(matches.image_ids), NUM_DRAWS), area))

    def _get(self, trial_id: str, kind: str) -> tuple[Floats, Floats] | None:
        if (trial_id, kind) not in self._found:
            matches = self._read(trial_id, kind)
            self._found[trial_id, kind] = None if matches is None else _with_draws(matches)
        return self._found[trial_id, kind]

    def _read(self, trial_id: str, kind: str) -> StoredMatches | None:
        last = self._study.records[trial_id].segments[-1]
        place = self._place(last.segment_id, last.end)
        content = self._reader.read_in(place, f"{kind}.npz")
        if content is None:
            return None
        path = f"{place}/{kind}.npz"
        matches = read_matches(content, path)
        self._check(trial_id, kind, matches, path)
        return matches

    def _place(self, segment_id: str, iteration: int) -> str | None:
        if (segment_id, iteration) not in self._places:
            self._places[segment_id, iteration] = self._reader.segment(segment_id).matches(iteration)
        return self._places[segment_id, iteration]

    def _check(self, trial_id: str, kind: str, matches: StoredMatches, path: str) -> None:
        """Matches must give the AP of the trial's last row: else they are of something else."""
        ones = np.ones((len(matches.image_ids), 1), dtype=np.float32)
        found = float(summary(average_precision(matches, ones))[0])
        expected = self._study.records[trial_id].metrics.get(f"{kind}_ap", found)
        if abs(found - expected) > MAX_AP_ERROR:
            raise StorageError(f"{path} gives {kind} AP {found:.2f}, but trial {trial_id} ended at {expected:.2f}")


def _with_draws(matches: StoredMatches) -> tuple[Floats, Floats]:
    num_images = len(matches.image_ids)
    observed = average_precision(matches, np.ones((num_images, 1), dtype=np.float32))
    return average_precision(matches, draw_images(num_images, NUM_DRAWS)), observed[..., 0]
