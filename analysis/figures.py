"""Figures for papers: PNG and SVG by matplotlib. The page draws its own, interactive ones."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import pandas as pd

mpl.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.arms import SETTING
from analysis.convergence import Setting
from analysis.crossover import DEFAULT_TOLERANCE
from analysis.evidence import SettingEvidence, differences
from analysis.load import StudyTable
from analysis.statistics import Interval

COLOURS = {"random": "#7a3e9d", "pretrained": "#6b7280"}
"""Of the inits: purple and grey, as in the paper's figures."""

NAMES = {"random": "random init", "pretrained": "w/ pre-train"}

WIDTH_OF_A_LETTER = 0.08
"""Inches, in a label of 9 points."""


def write_figures(study: StudyTable, found: list[SettingEvidence], folder: Path) -> list[Path]:
    """AP and losses over iterations of each setting, and all differences, as PNG and SVG; returns the paths written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, one in enumerate(found):
        suffix = f"-{number + 1}" if len(found) > 1 else ""
        for name, draw in (("ap", _draw_ap), ("losses", _draw_losses)):
            figure = Figure(figsize=(7, 4.2), layout="constrained")
            axes = figure.add_subplot()
            draw(axes, rows_of_setting(study.rows, one.setting), study)
            axes.set_title(one.label, fontsize=10)
            written += _save(figure, folder / f"{name}{suffix}")
    gaps = differences(found)
    if gaps:
        widest = max(len(name) for name, _ in gaps)
        width = max(7, 4 + WIDTH_OF_A_LETTER * widest)
        figure = Figure(figsize=(width, 1.3 + 0.3 * len(gaps)), layout="constrained")
        _draw_differences(figure.add_subplot(), gaps, study.leading.name)
        written += _save(figure, folder / "differences")
    return written


def _save(figure: Figure, stem: Path) -> list[Path]:
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg")]
    for path in paths:
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths


def rows_of_setting(rows: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    """The rows of one setting."""
    mask = pd.Series(True, index=rows.index)
    for name, value in zip(SETTING, setting, strict=True):
        mask &= rows[name].astype(str) == value
    return rows[mask]


def _draw_ap(axes: Axes, rows: pd.DataFrame, study: StudyTable) -> None:
    """Trunk and branches, as in the paper's Figure 1: a shared trunk is drawn over itself and looks like one line."""
    val = rows[rows["split"] == "val"]
    for init, part in val.groupby("init", observed=True):
        colour = COLOURS[str(init)]
        for number, (_, curve) in enumerate(part.groupby("trial_id", observed=True)):
            label = NAMES[str(init)] if number == 0 else None
            x, y = curve["iteration"], curve[study.leading.column]
            axes.plot(x, y, color=colour, lw=1.3, label=label)
            axes.plot(x.iloc[-1:], y.iloc[-1:], "o", ms=4, color=colour)
    _dress(axes, study.unit, f"{study.leading.name} (%)")


def _draw_losses(axes: Axes, rows: pd.DataFrame, study: StudyTable) -> None:
    for (init, split), part in rows.groupby(["init", "split"], observed=True):
        for number, (_, curve) in enumerate(part.groupby("trial_id", observed=True)):
            label = f"{NAMES[str(init)]}, {'training' if split == 'train' else 'validation'}" if number == 0 else None
            style = "-" if split == "val" else ":"
            axes.plot(curve["iteration"], curve["loss"], style, color=COLOURS[str(init)], lw=1.1, label=label)
    _dress(axes, study.unit, "loss")


def _draw_differences(axes: Axes, gaps: Sequence[tuple[str, Interval]], metric: str) -> None:
    """One line a difference, with its 95% interval where there is one; shaded is what counts as level."""
    axes.axvspan(-DEFAULT_TOLERANCE, DEFAULT_TOLERANCE, color=COLOURS["random"], alpha=0.1, lw=0)
    axes.axvline(0, color="#888888", lw=0.8, ls="--")
    for place, (_, gap) in enumerate(gaps):
        if gap.is_known:
            axes.plot([gap.low, gap.high], [place, place], color=COLOURS["random"], lw=1.6)
        axes.plot([gap.value], [place], "o", ms=5, color=COLOURS["random"])
    axes.set_yticks(range(len(gaps)), [name for name, _ in gaps], fontsize=9)
    axes.set_ylim(len(gaps) - 0.5, -0.5)
    axes.set_xlabel(f"{metric}, random − pre-trained (95% CI; shaded: within {DEFAULT_TOLERANCE:g} AP)")
    axes.grid(axis="x", alpha=0.3)


def _dress(axes: Axes, unit: int, ylabel: str) -> None:
    axes.set_xlabel(f"iterations (1x = {unit:,})")
    axes.set_ylabel(ylabel)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)
