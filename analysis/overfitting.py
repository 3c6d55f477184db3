"""Training against validation: who over-fits, and the signature of the paper's break-down.

Losses of the two splits are of different kinds of means (training: over recent iterations, with augmentation;
validation: over all validation pictures), so that their gap is compared between trials, not read as an absolute.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.arms import SETTING
from analysis.convergence import settings
from analysis.load import StudyTable
from analysis.statistics import Interval

RISE = 0.05
"""Share of its minimum by which validation loss must have risen at the end to count as over-fitting."""

CATCH_UP = 0.10
"""Share by which random init's final training loss may exceed pre-trained's and still count as caught up."""

_TAIL = 3
"""Training rows that are averaged into the final training loss: single ones are noisy."""


@dataclass(frozen=True)
class Overfitting:
    """One trial's end, against its best."""

    trial_id: str
    train_loss: float
    """Mean of the last training rows."""

    val_loss: float
    val_loss_min: float
    val_loss_min_at: int
    """Iteration of the smallest validation loss."""

    ap: float
    ap_peak: float
    ap_peak_at: int
    train_ap: float
    """Box AP on the training pictures that were scored, at the last time; nan where none were."""

    is_overfitting: bool
    """Validation loss ends ``RISE`` above its minimum while training loss went on falling."""

    @property
    def gap(self) -> float:
        """Validation loss minus training loss, at the end."""
        return self.val_loss - self.train_loss

    @property
    def rise(self) -> float:
        """Rise of the validation loss after its minimum, as a share of the minimum."""
        return self.val_loss / self.val_loss_min - 1


def overfitting_table(study: StudyTable) -> pd.DataFrame:
    """One line a trial that has rows of both splits, with its factors, indexed by ``trial_id``; setting by setting."""
    train = dict(iter(study.train.groupby("trial_id", observed=True)))
    found = []
    for trial_id, val in study.val.groupby("trial_id", observed=True):
        if trial_id in train:
            one = trial_overfitting(str(trial_id), train[trial_id], val, study.leading.column)
            found.append({**vars(one), "gap": one.gap, "rise": one.rise})
    columns = [*Overfitting.__dataclass_fields__, "gap", "rise"]
    table = pd.DataFrame(found, columns=columns).set_index("trial_id")
    table = table.join(study.trials.drop(columns=["iteration", "error"]))
    order = {setting: position for position, setting in enumerate(settings(study))}
    places = [order[setting] for setting in table[list(SETTING)].astype(str).itertuples(index=False, name=None)]
    return table.iloc[np.argsort(places, kind="stable")]


def trial_overfitting(trial_id: str, train: pd.DataFrame, val: pd.DataFrame, metric: str) -> Overfitting:
    """The state of one trial from its training and its evaluation rows, in order; ``metric`` is the column of AP."""
    losses, iterations = val["loss"].to_numpy(), val["iteration"].to_numpy()
    ap = val[metric].to_numpy() if metric in val else np.full(len(val), math.nan)
    low = int(np.nanargmin(losses)) if not np.isnan(losses).all() else len(losses) - 1
    peak = int(np.nanargmax(ap)) if not np.isnan(ap).all() else len(ap) - 1
    train_end = float(np.mean(train["loss"].to_numpy()[-_TAIL:]))
    then = train[train["iteration"] <= iterations[low]]["loss"].to_numpy()
    train_then = float(np.mean(then[-_TAIL:])) if len(then) else math.inf
    known = val["train_box_ap"].dropna().to_numpy() if "train_box_ap" in val else np.zeros(0)
    has_risen = bool(losses[-1] > losses[low] * (1 + RISE))
    return Overfitting(
        trial_id=trial_id,
        train_loss=train_end,
        val_loss=float(losses[-1]),
        val_loss_min=float(losses[low]),
        val_loss_min_at=int(iterations[low]),
        ap=float(ap[-1]),
        ap_peak=float(ap[peak]),
        ap_peak_at=int(iterations[peak]),
        train_ap=float(known[-1]) if len(known) else math.nan,
        is_overfitting=has_risen and train_end < train_then,
    )


@dataclass(frozen=True)
class BreakDown:
    """The paper's break-down signature at one data size (He et al. 2019, section 5.2, Figure 8)."""

    train_caught_up: bool
    """Random init's final training loss is at most ``CATCH_UP`` above pre-trained's: it is no under-training."""

    val_behind: bool
    """Yet its AP is behind: the gap's interval lies below 0 (without interval: the gap is below -tolerance)."""

    @property
    def is_shown(self) -> bool:
        """Both at once: the model fits its training pictures and fails on others."""
        return self.train_caught_up and self.val_behind


def break_down(train_random: float, train_pretrained: float, gap: Interval, tolerance: float = 1.0) -> BreakDown:
    """Whether random init breaks down.

    Args:
        train_random: final training loss of random init at its longest schedule, mean over seeds.
        train_pretrained: the same of pre-trained.
        gap: AP of random minus pre-trained, each at its best schedule.
        tolerance: AP, for gaps without interval.
    """
    return BreakDown(
        train_caught_up=train_random <= train_pretrained * (1 + CATCH_UP),
        val_behind=gap.high < 0 if gap.is_known else gap.value < -tolerance,
    )
