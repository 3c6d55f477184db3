"""Figures for papers: PNG and SVG by matplotlib. The page draws its own, interactive ones."""

from pathlib import Path

import matplotlib as mpl
import pandas as pd

mpl.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.arms import setting_label
from analysis.convergence import Setting, settings
from analysis.load import StudyTable

COLOURS = {"random": "#7a3e9d", "pretrained": "#6b7280"}
"""Of the inits: purple and grey, as in the paper's figures."""

NAMES = {"random": "random init", "pretrained": "w/ pre-train"}


def write_figures(study: StudyTable, folder: Path, constant: tuple[str, ...] = ()) -> list[Path]:
    """AP and losses over iterations, one pair of figures a setting, as PNG and SVG; returns the paths written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, setting in enumerate(settings(study)):
        suffix = f"-{number + 1}" if len(settings(study)) > 1 else ""
        title = setting_label(dict(zip(("backbone", "norm", "data", "other"), setting, strict=True)), constant)
        for name, draw in (("ap", _draw_ap), ("losses", _draw_losses)):
            figure = Figure(figsize=(7, 4.2), layout="constrained")
            axes = figure.add_subplot()
            draw(axes, rows_of_setting(study.rows, setting), study)
            axes.set_title(title, fontsize=10)
            for kind in ("png", "svg"):
                path = folder / f"{name}{suffix}.{kind}"
                figure.savefig(path, dpi=150, metadata={"Date": None} if kind == "svg" else None)
                written.append(path)
    return written


def rows_of_setting(rows: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    """The rows of one setting."""
    mask = pd.Series(True, index=rows.index)
    for name, value in zip(("backbone", "norm", "data", "other"), setting, strict=True):
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


def _dress(axes: Axes, unit: int, ylabel: str) -> None:
    axes.set_xlabel(f"iterations (1x = {unit:,})")
    axes.set_ylabel(ylabel)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)
