"""What each arm has seen, with its pre-training: Figure 2 of the paper for this study."""

from dataclasses import dataclass

import pandas as pd

from analysis.load import StudyTable
from raystudy.provenance import WeightsProvenance

KINDS = ("images", "instances", "pixels_nominal", "pixels_measured")


@dataclass(frozen=True)
class ExposureLine:
    """Totals of one trial; trials of equal init and schedule have seen equally many images."""

    init: str
    schedule: str
    total: int
    setting: tuple[str, ...]
    detection: dict[str, float]
    """Kind -> total of the detector's training, stand-alone."""

    pretraining: dict[str, float]
    """Kind -> total of the pre-training; empty for random init, or where its provenance does not tell."""

    is_told: bool
    """False when pre-training is not known, so that the sum lacks it."""

    def sum(self, kind: str) -> float:
        """Detection and pre-training."""
        return self.detection[kind] + self.pretraining.get(kind, 0.0)


def exposure_lines(study: StudyTable, setting_names: tuple[str, ...]) -> list[ExposureLine]:
    """One line per setting, init and schedule, from the first complete trial of each."""
    rows = study.rows
    last = rows.drop_duplicates("trial_id", keep="last")
    complete = study.trials.index[study.trials["state"] == "complete"]
    last = last[last["trial_id"].isin(complete)]
    lines = []
    for _, row in last.drop_duplicates([*setting_names, "init", "total"]).iterrows():
        pretraining = _pretraining(study, study.trials.loc[row["trial_id"]])
        lines.append(
            ExposureLine(
                init=str(row["init"]),
                schedule=str(row["schedule"]),
                total=int(row["total"]),
                setting=tuple(str(row[name]) for name in setting_names),
                detection={kind: float(row[kind]) for kind in KINDS},
                pretraining=pretraining,
                is_told=row["init"] == "random" or bool(pretraining),
            )
        )
    return sorted(lines, key=lambda line: (line.setting, line.init, line.total))


def _pretraining(study: StudyTable, trial: pd.Series) -> dict[str, float]:
    provenance = study.weights.get(str(trial["weights_id"]))
    return {} if provenance is None else WeightsProvenance.from_dict(provenance).exposure()
