"""Iterations, device-hours and money of each arm, and what shared trunks saved.

A device is one worker's: a GPU, or a CPU process. Time is work on segments, evaluations included, start-up not.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.load import StudyTable


@dataclass(frozen=True)
class Cost:
    """Totals of a study so far."""

    iterations: int
    """Trained, each segment once."""

    naive_iterations: int
    """If every trial, as far as it is, had been trained alone."""

    device_hours: float
    naive_device_hours: float
    pretraining_hours: dict[str, float]
    """weights_id -> device-hours, where its provenance tells."""

    by_init: dict[str, float]
    """Init -> device-hours of its segments; no segment serves both inits. Pre-training not counted."""

    @property
    def saved_share(self) -> float:
        """Share of the iterations that shared trunks saved."""
        return 1 - self.iterations / self.naive_iterations if self.naive_iterations else 0.0

    def money(self, price_per_hour: float) -> float:
        """Of all device-hours, pre-training included, at a price for one."""
        return price_per_hour * (self.device_hours + sum(self.pretraining_hours.values()))


def study_cost(study: StudyTable) -> Cost:
    """What the study has used so far."""
    segments = study.segments
    hours = segments["wall_time_s"] * segments["workers"] / 3600
    parts = trial_parts(study)
    init_of = parts.drop_duplicates("segment_id").set_index("segment_id")["init"].astype(str)
    by_init = hours.groupby(init_of.reindex(segments.index)).sum()
    return Cost(
        iterations=int((segments["end"] - segments["start"]).sum()),
        naive_iterations=int(parts.groupby("trial_id", observed=True)["iteration"].max().sum()),
        device_hours=float(hours.sum()),
        naive_device_hours=float(parts["device_hours"].sum()),
        pretraining_hours=_pretraining_hours(study),
        by_init={str(init): float(value) for init, value in by_init.items()},
    )


def trial_parts(study: StudyTable) -> pd.DataFrame:
    """Each trial's part of each of its segments, with the device-hours up to its end."""
    parts = study.rows.drop_duplicates(["trial_id", "segment_id"], keep="last").copy()
    parts["device_hours"] = parts["wall_time_s"].fillna(0.0) * parts["workers"] / 3600 if len(parts) else []
    return parts


def trial_hours(study: StudyTable) -> pd.Series:
    """Device-hours of each trial as if trained alone, indexed by ``trial_id``."""
    return trial_parts(study).groupby("trial_id", observed=True)["device_hours"].sum()


def with_hours(study: StudyTable) -> pd.DataFrame:
    """The evaluation rows with ``hours``: device-hours of the trial so far, as if trained alone."""
    parts = trial_parts(study)
    before = parts.groupby("trial_id", observed=True)["device_hours"].cumsum() - parts["device_hours"]
    keys = ["trial_id", "segment_id"]
    earlier = before.set_axis(pd.MultiIndex.from_frame(parts[keys].astype(str)))
    own = study.val["wall_time_s"].fillna(0.0) * study.val["workers"] / 3600 if len(study.val) else 0.0
    index = pd.MultiIndex.from_frame(study.val[keys].astype(str))
    return study.val.assign(hours=own + earlier.reindex(index).to_numpy())


@dataclass(frozen=True)
class Reach:
    """What an init needs to reach an AP, by whichever of its schedules gets there first; means over seeds."""

    ap: float
    iterations: dict[str, float]
    """Init -> iterations; nan when a seed does not reach it."""

    images: dict[str, float]
    hours: dict[str, float]
    """Device-hours as if trained alone."""

    @property
    def ratio(self) -> float:
        """Iterations of random init as a multiple of pre-trained's."""
        return self.iterations.get("random", math.nan) / self.iterations.get("pretrained", math.nan)


def reach(val: pd.DataFrame, targets: list[float], metric: str) -> list[Reach]:
    """What the first evaluation that reaches each target has taken, from one setting's rows of ``with_hours``.

    No interpolation: what counts is the first evaluation at or above the target.
    """
    found = []
    for target in targets:
        there = val[val[metric] >= target]
        iterations, images, hours = {}, {}, {}
        for init, part in val.groupby("init", observed=True):
            first = there[there["init"] == init].groupby("seed")[["iteration", "images", "hours"]].min()
            is_reached = len(first) == part["seed"].nunique()
            iterations[str(init)] = float(np.mean(first["iteration"])) if is_reached else math.nan
            images[str(init)] = float(np.mean(first["images"])) if is_reached else math.nan
            hours[str(init)] = float(np.mean(first["hours"])) if is_reached else math.nan
        found.append(Reach(target, iterations, images, hours))
    return found


def _pretraining_hours(study: StudyTable) -> dict[str, float]:
    return {
        weights_id: float(provenance["wall_time_s"]) / 3600
        for weights_id, provenance in study.weights.items()
        if provenance.get("wall_time_s") is not None
    }
