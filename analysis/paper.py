"""The paper's own numbers and curves, to lay beside a study: package data with its sources.

What the paper prints is ``printed``; what was read from its figures' vector paths is ``digitised`` and must be shown
as such wherever it appears.
"""

import functools
import importlib.resources
import json
import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.convergence import ScheduleLine
from analysis.leading import BOX
from analysis.load import StudyTable

PAPER_UNIT = 90_000
NUM_VAL_IMAGES = 5000
"""Of COCO val2017: by this and the unit a study is known to repeat the paper's."""

ARMS = {("r50", "gn"): "R50 GN", ("r101", "gn"): "R101 GN", ("r50", "sync_bn"): "R50 SyncBN"}
_CURVES = {
    ("r50", "gn"): "schedules_gn_r50",
    ("r101", "gn"): "schedules_gn_r101",
    ("r50", "sync_bn"): "schedules_syncbn_r50",
}
_MODELS = {"r50": "Mask R-CNN R50-FPN", "r101": "Mask R-CNN R101-FPN"}

FROM_SCRATCH = {"DSOD": 29.3, "CornerNet, multi-scale": 42.1}
"""COCO box AP of the earlier systems without pre-training that the paper names (section 5.1, text)."""

DATA_SIZES = {
    118_287: (41.3, 41.1, "Table 1, 6x"),
    35_000: (36.3, 36.3, "section 5.2, Figure 7"),
    10_000: (25.9, 26.0, "section 5.2, Figure 7"),
    3_500: (9.3, 16.0, "section 5.2"),
    1_000: (3.5, 9.9, "section 5.2; the caption of Figure 8 has 3.4"),
}
"""Images -> box AP of random and pre-trained, and where it is printed: R50-FPN GN, COCO subsets."""


@dataclass(frozen=True)
class PaperCurve:
    """One digitised curve; ``values`` in percent AP or as loss."""

    experiment: str
    figure: str
    init: str
    schedule: str
    total: int
    metric: str
    is_branch: bool
    """It begins where it leaves the next shorter schedule's trunk, not at 0."""

    iterations: tuple[int, ...]
    values: tuple[float, ...]


def paper_numbers() -> pd.DataFrame:
    """Every number of the paper: ``experiment``, ``place``, ``init``, ``schedule``, ``metric``, ``value``, ..."""
    content = _content("paper_numbers.json")
    return pd.DataFrame(content["rows"], columns=content["columns"])


def paper_source() -> str:
    """The paper, as a citation."""
    return str(_content("paper_numbers.json")["source"])


def paper_curves(experiment: str) -> list[PaperCurve]:
    """The digitised curves of one experiment, such as ``schedules_gn_r50``."""
    return [
        PaperCurve(
            **{key: one[key] for key in ("experiment", "figure", "init", "schedule", "total", "metric", "is_branch")},
            iterations=tuple(one["iterations"]),
            values=tuple(one["values"]),
        )
        for one in _content("paper_curves.json")["curves"]
        if one["experiment"] == experiment
    ]


@dataclass(frozen=True)
class PaperArm:
    """The paper's final box AP of one backbone and norm at one schedule."""

    random: float
    pretrained: float
    kind: str
    """``printed`` or ``digitised``."""

    @property
    def delta(self) -> float:
        """Random minus pre-trained."""
        return self.random - self.pretrained


def paper_schedules(backbone: str, norm: str) -> dict[str, PaperArm]:
    """Schedule (2x ... 6x) -> final box AP; printed where the paper prints it, else the digitised curve's end."""
    numbers = paper_numbers()
    experiment = "schedules_syncbn" if norm == "sync_bn" else "schedules_gn"
    chosen = numbers[(numbers["experiment"] == experiment) & (numbers["model"] == _MODELS.get(backbone))]
    chosen = chosen[chosen["metric"].isin(["bbox_AP", "bbox_AP_curve_last"])]
    found = {}
    for schedule, part in chosen.groupby("schedule", sort=False):
        pick = {init: _pick(part[part["init"] == init]) for init in ("random", "pretrained")}
        (random, kind), (pretrained, other) = pick["random"], pick["pretrained"]
        worst = "digitised" if "digitised" in (kind, other) else "printed"
        found[str(schedule)] = PaperArm(random, pretrained, worst)
    return dict(sorted(found.items()))


def repeats_paper(study: StudyTable) -> bool:
    """Whether the study's schedules, validation set and metric are the paper's, so that its curves can be laid over."""
    if study.leading is not BOX or study.unit != PAPER_UNIT:
        return False
    return len(study.val) > 0 and set(study.val["num_images"]) == {NUM_VAL_IMAGES}


def overlay(backbone: str, norm: str) -> list[PaperCurve]:
    """The curves to lay over a setting that repeats the paper's; empty when it has none."""
    experiment = _CURVES.get((backbone, norm))
    return paper_curves(experiment) if experiment else []


@dataclass(frozen=True)
class Beside:
    """Ours, the paper's, and the difference of the two, of random minus pre-trained at one schedule."""

    schedule: str
    ours: float
    paper: float
    kind: str

    @property
    def difference(self) -> float:
        """Ours minus the paper's."""
        return self.ours - self.paper


def beside(lines: list[ScheduleLine], backbone: str = "r50", norm: str = "gn") -> list[Beside]:
    """Random minus pre-trained at each schedule of a setting, beside the paper's at the same kx.

    A setting that the paper has not trained stands beside R50 GN: then only the shape can be compared.
    """
    key = (backbone, norm) if (backbone, norm) in ARMS else ("r50", "gn")
    table = paper_schedules(*key)
    found = []
    for line in lines:
        arm = table.get(f"{line.units:g}x")
        if arm is not None and not math.isnan(line.delta):
            found.append(Beside(line.schedule, line.delta, arm.delta, arm.kind))
    return found


def _pick(part: pd.DataFrame) -> tuple[float, str]:
    printed = part[part["kind"] == "printed"]
    chosen = printed if len(printed) else part
    return float(chosen["value"].iloc[0]), str(chosen["kind"].iloc[0])


@functools.cache
def _content(name: str) -> dict[str, Any]:
    text = importlib.resources.files("analysis").joinpath(name).read_text(encoding="utf-8")
    parsed: dict[str, Any] = json.loads(text)
    return parsed
