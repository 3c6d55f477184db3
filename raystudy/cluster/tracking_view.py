"""The page that people open in Weights & Biases: a saved workspace with the panels of the question.

Made once for a study and updated after: where it lies is kept in the storage. Panels show trials only; trunks are runs
of a job type of their own, and their rows are in the trials' curves already.
"""

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

from raystudy import atomic
from raystudy.cluster.tracked_runs import AXIS, CELL
from raystudy.store import Store

FINAL_AP = "final/box_ap"


def save_view(store: Store, study: str, entity: str, project: str) -> str:
    """Create the study's workspace, or bring an existing one up to date; its address. Needs the server."""
    view = workspace(study, entity, project)
    place = store.report_folder(study) / f"wandb-{entity}-{project}.json"
    if place.is_file():
        # wandb saves a view under a new address unless it was loaded from its old one.
        known = ws.Workspace.from_url(atomic.read_json(place)["url"])
        known.sections, known.settings, known.runset_settings = view.sections, view.settings, view.runset_settings
        view = known
    view.save()
    atomic.write_json(place, {"url": view.url})
    return str(view.url)


def workspace(study: str, entity: str, project: str) -> ws.Workspace:
    """The workspace as a specification; no server is asked."""
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"raystudy {study}",
        sections=[
            _section("Does training longer catch up?", _ap_panels(), is_open=True),
            _section("Over-fitting: training and validation loss", _loss_panels(), is_open=True),
            _section("Less data", _data_panels()),
            _section("What the network has seen", _exposure_panels()),
            _section("Which setting matters", [wr.ParameterImportancePlot(with_respect_to=FINAL_AP)]),
        ],
        settings=ws.WorkspaceSettings(x_axis=AXIS, smoothing_type="none", max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=[ws.Metric("JobType") == "trial", ws.Metric("Group") == study],
            groupby=[ws.Config(CELL)],
            order=[ws.Ordering(ws.Summary(FINAL_AP), ascending=False)],
        ),
    )


def _section(name: str, panels: list[wr.LinePlot | wr.ScatterPlot], *, is_open: bool = False) -> ws.Section:
    # A section's panels take wandb's own step unless the section says otherwise.
    return ws.Section(name=name, panels=panels, is_open=is_open, panel_settings=ws.SectionPanelSettings(x_axis=AXIS))


def _curve(title: str, metrics: list[str], x: str = AXIS) -> wr.LinePlot:
    """Mean over seeds, with their range."""
    return wr.LinePlot(
        title=title,
        x=x,
        y=list(metrics),
        groupby=f"config.{CELL}",
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
        smoothing_type="none",
    )


def _ap_panels() -> list[wr.LinePlot | wr.ScatterPlot]:
    return [
        _curve("Box AP over iterations", ["val/box_ap"]),
        _curve("Mask AP over iterations", ["val/mask_ap"]),
        wr.ScatterPlot(
            title="Final box AP over the length of the schedule",
            x=wr.Config("schedule_total"),
            y=wr.SummaryMetric(FINAL_AP),
        ),
    ]


def _loss_panels() -> list[wr.LinePlot | wr.ScatterPlot]:
    return [
        _curve("Training and validation loss", ["train/loss", "val/loss"]),
        _curve("Box classification loss", ["train/loss_box_class", "val/loss_box_class"]),
    ]


def _data_panels() -> list[wr.LinePlot | wr.ScatterPlot]:
    return [
        wr.ScatterPlot(
            title="Final box AP over the share of the training images",
            x=wr.Config("data_fraction"),
            y=wr.SummaryMetric(FINAL_AP),
            log_x=True,
        )
    ]


def _exposure_panels() -> list[wr.LinePlot | wr.ScatterPlot]:
    return [_curve("Box AP over images seen", ["val/box_ap"], x="exposure/images")]
