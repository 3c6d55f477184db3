"""The page that people open in Weights & Biases: a saved workspace with the panels of the question.

Made once for a study and updated after: where it lies is kept in the storage. Panels show trials only; trunks are runs
of a job type of their own, and their rows are in the trials' curves already.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb.sdk.lib.service.service_connection import WandbApiFailedError
from wandb_workspaces.expr import And

from raystudy.cluster.tracked_runs import AXIS, CELL
from raystudy.cluster.tracking_media import PICTURE_KEYS, TABLE_KEY
from raystudy.errors import TrackingError
from raystudy.store import Store

FINAL_AP = "final/box_ap"
TRIAL_JOBS = ["trial", "search"]

Panels = list[Any]


def save_view(store: Store, study: str, entity: str, project: str) -> str:
    """Create the study's workspace, or bring an existing one up to date; its address.

    Raises:
        TrackingError: the server cannot be reached, or refuses.
    """
    view = workspace(study, entity, project)
    with told_as_tracking_error():
        known = known_address(store, study, entity, project, "workspace")
        kept = still_there(ws.Workspace.from_url, known)
        if kept is not None:  # wandb saves a view under a new address unless it was loaded from its old one
            kept.sections, kept.settings, kept.runset_settings = view.sections, view.settings, view.runset_settings
            view = kept
        view.save()
    return keep_address(store, study, entity, project, "workspace", str(view.url))


def workspace(study: str, entity: str, project: str) -> ws.Workspace:
    """The workspace as a specification; no server is asked."""
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"raystudy {study}",
        sections=[
            _section(title, panels, is_open=number < 2) for number, (title, panels) in enumerate(sections().items())
        ],
        settings=ws.WorkspaceSettings(x_axis=AXIS, smoothing_type="none", max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=And(ws.Metric("JobType").isin(TRIAL_JOBS), ws.Metric("Group") == study),
            groupby=[ws.Config(CELL)],
            order=[ws.Ordering(ws.Summary(FINAL_AP), ascending=False)],
        ),
    )


def sections() -> dict[str, Panels]:
    """The panels by what they answer; workspace and report show the same ones."""
    return {
        "Does training longer catch up?": _ap_panels(),
        "Over-fitting: training and validation loss": _loss_panels(),
        "Less data": _data_panels(),
        "What the network has seen": [curve("Box AP over images seen", ["val/box_ap"], x="exposure/images")],
        "What it finds": _prediction_panels(),
        "Which setting matters": [wr.ParameterImportancePlot(with_respect_to=FINAL_AP)],
    }


def curve(title: str, metrics: list[str], x: str = AXIS) -> wr.LinePlot:
    """A metric over iterations, a line for each init and schedule: the mean over seeds, with their range."""
    return wr.LinePlot(
        title=title,
        x=x,
        y=list(metrics),
        groupby=f"config.{CELL}",
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
        smoothing_type="none",
    )


@contextmanager
def told_as_tracking_error() -> Iterator[None]:
    """Errors of the connection in our words."""
    wandb.setup(wandb.Settings(silent=True))  # the command says where a page is, once
    try:
        yield
    except (wandb.Error, WandbApiFailedError, OSError) as error:
        raise TrackingError(f"W&B was not reached, or refused: {error}; check the key and the network") from error


def still_there(load: Callable[[str], Any], address: str) -> Any:
    """What lies at an address; None when it was deleted in the browser, so that it is made again."""
    if not address:
        return None
    try:
        return load(address)
    except (TypeError, ValueError, IndexError):  # what wandb-workspaces makes of an answer without a view
        return None


def known_address(store: Store, study: str, entity: str, project: str, kind: str) -> str:
    """Where the study's workspace or report lies; empty when it was never made."""
    return str((store.files.read_json(_place(study, entity, project)) or {}).get(kind, ""))


def keep_address(store: Store, study: str, entity: str, project: str, kind: str, address: str) -> str:
    """Remember where it lies, and return it."""
    place = _place(study, entity, project)
    others = store.files.read_json(place) or {}
    store.files.write_json(place, {**others, kind: address})
    return address


def _place(study: str, entity: str, project: str) -> str:
    return f"reports/{study}/wandb-{entity}-{project}.json"


def _section(name: str, panels: Panels, *, is_open: bool) -> ws.Section:
    # A section's panels take wandb's own step unless the section says otherwise.
    return ws.Section(name=name, panels=panels, is_open=is_open, panel_settings=ws.SectionPanelSettings(x_axis=AXIS))


def _ap_panels() -> Panels:
    return [
        curve("Box AP over iterations", ["val/box_ap"]),
        curve("Mask AP over iterations", ["val/mask_ap"]),
        wr.ScatterPlot(
            title="Final box AP over the length of the schedule",
            x=wr.Config("schedule_total"),
            y=wr.SummaryMetric(FINAL_AP),
        ),
    ]


def _loss_panels() -> Panels:
    return [
        curve("Training and validation loss", ["train/loss", "val/loss"]),
        curve("Box classification loss", ["train/loss_box_class", "val/loss_box_class"]),
        curve("Mask loss", ["train/loss_mask", "val/loss_mask"]),
    ]


def _data_panels() -> Panels:
    return [
        wr.ScatterPlot(
            title="Final box AP over the share of the training images",
            x=wr.Config("data_fraction"),
            y=wr.SummaryMetric(FINAL_AP),
            log_x=True,
        ),
        wr.ScatterPlot(
            title="Final box AP over the instances that were seen",
            x=wr.SummaryMetric("exposure/instances"),
            y=wr.SummaryMetric(FINAL_AP),
            log_x=True,
        ),
    ]


def _prediction_panels() -> Panels:
    return [
        wr.MediaBrowser(title="Validation pictures", media_keys=list(PICTURE_KEYS), num_columns=len(PICTURE_KEYS)),
        wr.WeavePanelSummaryTable(table_name=TABLE_KEY),
    ]
