"""A report in Weights & Biases: the workspace's panels with the words that they need, to send to somebody.

Made once for a study and updated after, as the workspace is. Numbers with their uncertainty are in our own report;
this page shows curves that move while the study runs.
"""

from typing import Any

import wandb_workspaces.reports.v2 as wr
from wandb_workspaces.expr import And, Metric

from raystudy.cluster.tracked_runs import CELL
from raystudy.cluster.tracking_view import (
    FINAL_AP,
    TRIAL_JOBS,
    keep_address,
    known_address,
    sections,
    still_there,
    told_as_tracking_error,
)
from raystudy.store import Store

_WIDTH, _HEIGHT = 12, 8
"""Of a panel, in W&B's grid of 24 columns."""

_WORDS = {
    "Does training longer catch up?": (
        "One line for each init and schedule, the mean over seeds with their range. Random init has caught up where "
        "the ends of two lines of the same schedule meet."
    ),
    "Over-fitting: training and validation loss": (
        "A validation loss that rises while the training loss falls is over-fitting; losses of both inits compare, "
        "since RoIs of the validation set are sampled alike at every evaluation."
    ),
    "Less data": "Where fewer images or instances are seen, pre-training is what is left to learn from.",
    "What the network has seen": "The same curves over images instead of iterations. Pre-training is not counted here.",
    "What it finds": (
        "The same validation pictures at the 1st, 2nd, 4th, 8th … evaluation of every trial; annotated and detected "
        "boxes and masks are layers that can be switched. The table has the AP of every category at the end."
    ),
    "Which setting matters": "For searches: which hyper-parameter goes with a higher AP. Needs runs that differ in it.",
}


def save_report(store: Store, study: str, question: str, entity: str, project: str) -> str:
    """Create the study's report, or bring an existing one up to date; its address.

    Raises:
        TrackingError: the server cannot be reached, or refuses.
    """
    made = report(study, question, entity, project)
    with told_as_tracking_error():
        kept = still_there(wr.Report.from_url, known_address(store, study, entity, project, "report"))
        if kept is not None:
            kept.title, kept.description, kept.blocks = made.title, made.description, made.blocks
            made = kept
        made.save()
    return keep_address(store, study, entity, project, "report", str(made.url))


def report(study: str, question: str, entity: str, project: str) -> wr.Report:
    """The report as a specification. Saving it asks the server for the project."""
    blocks: list[Any] = []
    for title, panels in sections().items():
        for number, panel in enumerate(panels):
            panel.layout = wr.Layout(x=number % 2 * _WIDTH, y=number // 2 * _HEIGHT, w=_WIDTH, h=_HEIGHT)
        runs = wr.Runset(
            entity=entity,
            project=project,
            name="trials",
            filters=And(Metric("JobType").isin(TRIAL_JOBS), Metric("Group") == study),
            groupby=[f"config.{CELL}"],
            order=[wr.OrderBy(wr.SummaryMetric(FINAL_AP), ascending=False)],
        )
        blocks += [wr.H2(title), wr.P(_WORDS[title]), wr.PanelGrid(runsets=[runs], panels=panels)]
    return wr.Report(
        entity=entity, project=project, title=f"raystudy {study}", description=question, width="fluid", blocks=blocks
    )
