"""Final AP per init and schedule, the leap at each learning-rate drop, and whether AP has converged.

Everything here is a point estimate; ``analysis.statistics`` adds the intervals.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.arms import SETTING
from analysis.load import StudyTable

RISING_PER_UNIT = 0.5
"""AP gained per 1x of additional schedule above which an arm counts as still rising (paper, R50 GN pre-trained:
+0.2 from 5x to 6x, random: +0.6)."""

Setting = tuple[str, ...]
"""Values of ``arms.SETTING``: what the two inits of a comparison have in common."""


@dataclass(frozen=True)
class Arm:
    """Final results of one init at one schedule."""

    values: Mapping[int, float]
    """Seed -> final AP by the study's leading metric, percent."""

    mask_values: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return _mean(self.values)

    @property
    def mask_mean(self) -> float:
        """Mean mask AP over seeds; nan without masks."""
        return _mean(self.mask_values)

    @property
    def spread(self) -> float:
        """Sample standard deviation over seeds; nan with fewer than two."""
        return float(np.std(list(self.values.values()), ddof=1)) if len(self.values) > 1 else math.nan


@dataclass(frozen=True)
class ScheduleLine:
    """One schedule of one setting, both inits where they are finished."""

    setting: Setting
    schedule: str
    total: int
    units: float
    random: Arm | None
    pretrained: Arm | None

    @property
    def delta(self) -> float:
        """Random minus pre-trained, AP; nan while one is missing."""
        if self.random is None or self.pretrained is None:
            return math.nan
        return self.random.mean - self.pretrained.mean

    @property
    def arms(self) -> tuple[Arm | None, Arm | None]:
        """Random and pre-trained."""
        return self.random, self.pretrained

    def arm(self, init: str) -> Arm | None:
        """The arm of that init."""
        return self.random if init == "random" else self.pretrained


def finals(study: StudyTable) -> pd.DataFrame:
    """The last evaluation row of every complete trial, with all factors; one line a trial."""
    complete = study.trials.index[study.trials["state"] == "complete"]
    val = study.val
    last = val[val["trial_id"].isin(complete)].drop_duplicates("trial_id", keep="last")
    return last.reset_index(drop=True)


def convergence_lines(study: StudyTable) -> list[ScheduleLine]:
    """One line per setting and schedule, shortest schedule first; settings in the order of the study."""
    last, metric = finals(study), study.leading.column
    if metric not in last:
        return []
    lines = []
    keys = [*SETTING, "total", "schedule"]
    for key, group in last.groupby(keys, observed=True, sort=False):
        *setting, total, schedule = map(str, key)
        arms = {str(init): _arm(part, metric) for init, part in group.groupby("init", observed=True)}
        lines.append(
            ScheduleLine(
                setting=tuple(setting),
                schedule=schedule,
                total=int(total),
                units=int(total) / study.unit,
                random=arms.get("random"),
                pretrained=arms.get("pretrained"),
            )
        )
    order = {setting: position for position, setting in enumerate(settings(study))}
    return sorted(lines, key=lambda line: (order[line.setting], line.total))


def settings(study: StudyTable) -> list[Setting]:
    """The settings of a study: as it lists them, but those that differ in their data from most to least of it."""
    trials = study.trials.assign(position=range(len(study.trials)))
    groups = [name for name in SETTING if name != "data"]
    trials["group"] = trials.groupby(groups, observed=True, sort=False)["position"].transform("min")
    trials["size"] = -trials["train_images"].fillna(trials["fraction"])
    values = trials.sort_values(["group", "size"], kind="stable")[list(SETTING)].astype(str)
    return list(dict.fromkeys(values.itertuples(index=False, name=None)))


def leaps(study: StudyTable) -> pd.DataFrame:
    """AP at the last evaluation up to each drop, and at the next one: one line a trial and drop."""
    lines, metric = [], study.leading.column
    for trial_id, rows in study.val.groupby("trial_id", observed=True):
        schedule = study.specs[str(trial_id)]["schedule"]
        iterations, values = rows["iteration"].to_numpy(), rows[metric].to_numpy()
        for drop in schedule["drops"]:
            at = schedule["total"] - drop["before_end"]
            before, after = np.flatnonzero(iterations <= at), np.flatnonzero(iterations > at)
            if len(before) and len(after):
                lines.append(
                    {"trial_id": trial_id, "drop": at, "before": values[before[-1]], "after": values[after[0]]}
                )
    table = pd.DataFrame(lines, columns=["trial_id", "drop", "before", "after"])
    table["leap"] = table["after"] - table["before"]
    return table.join(study.trials[["init", "schedule", "total", "seed", *SETTING]], on="trial_id")


def _arm(part: pd.DataFrame, metric: str) -> Arm:
    seeds = part["seed"].astype(int).tolist()
    masks = part["mask_ap"].tolist() if "mask_ap" in part else [math.nan] * len(seeds)
    return Arm(
        values=dict(zip(seeds, part[metric].tolist(), strict=True)),
        mask_values={seed: value for seed, value in zip(seeds, masks, strict=True) if not math.isnan(value)},
    )


def _mean(values: Mapping[int, float]) -> float:
    return float(np.mean(list(values.values()))) if values else math.nan
