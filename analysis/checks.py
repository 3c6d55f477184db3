"""Rows that cannot be a trial's curve are refused: holes, duplicates, rows out of order."""

import numpy as np
import pandas as pd

from raystudy.errors import RowsError

MAX_TOLD = 20
"""Problems that one message lists."""


def check_rows(rows: pd.DataFrame, trials: pd.DataFrame) -> None:
    """Raise ``RowsError`` unless the rows of each trial and split rise without a gap wider than their interval.

    A trial that is running, diverged or failed may end early; what it has must still be without holes.
    """
    problems: list[str] = []
    rows = rows[["trial_id", "split", "iteration"]]  # a subset of few columns is cheap to cut up
    for split, interval in (("train", "log_interval"), ("val", "eval_interval")):
        part = rows[rows["split"] == split]
        if len(part):
            problems += _split_problems(part, split, trials[interval].to_numpy())
    problems += _short_problems(rows, trials)
    if problems:
        told = problems[:MAX_TOLD]
        more = [f"... and {len(problems) - MAX_TOLD} more"] if len(problems) > MAX_TOLD else []
        advice = "the storage was changed by hand, or two programs wrote to it; run the study again to mend it"
        raise RowsError("\n".join([*told, *more, advice]))


def _split_problems(part: pd.DataFrame, split: str, intervals: np.ndarray) -> list[str]:
    codes = _codes(part, len(intervals))
    iterations = part["iteration"].to_numpy()
    is_first = np.r_[True, codes[1:] != codes[:-1]]
    previous = np.where(is_first, 0, np.r_[0, iterations[:-1]])
    step = iterations - previous
    wrong = np.flatnonzero((step <= 0) | (step > intervals[codes]))
    found = []
    for at in wrong[: MAX_TOLD + 1]:
        trial = part["trial_id"].iloc[at]
        here, before = iterations[at], previous[at]
        if here == before:
            found.append(f"trial {trial}: two {split} rows at iteration {here}")
        elif here < before:
            found.append(f"trial {trial}: {split} row {here} comes after {before}")
        else:
            found.append(
                f"trial {trial}: no {split} row between iterations {before} and {here}, one is due every "
                f"{intervals[codes[at]]}"
            )
    return found


def _short_problems(rows: pd.DataFrame, trials: pd.DataFrame) -> list[str]:
    """Complete trials must reach their last iteration."""
    val = rows[rows["split"] == "val"]
    last = np.zeros(len(trials), dtype=np.int64)
    np.maximum.at(last, _codes(val, len(trials)), val["iteration"].to_numpy())
    is_complete = (trials["state"] == "complete").to_numpy()
    short = np.flatnonzero(is_complete & (last < trials["total"].to_numpy())).tolist()
    return [
        f"trial {trials.index[at]} is complete, but its last evaluation is at iteration {last[at]} "
        f"of {trials['total'].iloc[at]}"
        for at in short
    ]


def _codes(part: pd.DataFrame, num_trials: int) -> np.ndarray:
    codes = part["trial_id"].cat.codes.to_numpy()
    assert codes.size == 0 or codes.max() < num_trials
    return codes
