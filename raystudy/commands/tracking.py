"""Commands on what Weights & Biases shows: `raystudy wandb-sync` and `wandb-view`."""

import argparse
import tempfile
from typing import Any

from raystudy.commands import EXIT_OK
from raystudy.commands.frame import Subparsers
from raystudy.commands.storage import add_storage_command, studies
from raystudy.console import make_console
from raystudy.errors import SpecError
from raystudy.store import Store

_SYNC = """
raystudy wandb-sync runs/demo --project my-project/my-team
raystudy wandb-sync runs/demo --project my-project/my-team --rebuild
"""


def add(added: "Subparsers[Any]") -> None:
    """The commands on Weights & Biases."""
    sync = add_storage_command(added, "wandb-sync", "send Weights & Biases what it has not got", wandb_sync, _SYNC)
    view = add_storage_command(
        added,
        "wandb-view",
        "make or update the study's workspace and report in Weights & Biases",
        wandb_view,
        "raystudy wandb-view runs/demo --project my-project/my-team",
    )
    sync.add_argument("--weights", action="store_true", help="upload the final weights of complete trials, too")
    sync.add_argument("--rebuild", action="store_true", help="make all runs anew from the storage, then delete the old")
    for made in (sync, view):
        made.add_argument("--project", required=True, metavar="PROJECT[/ENTITY]", help="where in W&B")


def wandb_sync(options: argparse.Namespace) -> int:
    """Bring to Weights & Biases what it has not got, each point once; with ``--rebuild`` everything, in new runs."""
    from raystudy.cluster.tracking import TrackingSettings
    from raystudy.cluster.tracking_sync import begin_rebuild, delete_replaced, sync_study
    from raystudy.cluster.wandb_service import service_ended

    if options.rebuild and options.study:
        raise SpecError("--rebuild takes the whole storage, because studies share trials; leave --study out")
    store, console = Store.open(options.storage), make_console()
    with tempfile.TemporaryDirectory() as folder:  # wandb's own files, of no use once everything has arrived
        settings = TrackingSettings.parse(options.project, folder=folder, weights=options.weights)
        if problems := settings.problems():
            raise SpecError(problems)
        with service_ended():
            if options.rebuild:
                begin_rebuild(store, settings)
            for name in studies(options):
                for run_id, points in sync_study(store, name, settings):
                    console.print(f"{run_id}: {points} new points", highlight=False)
            for run_id in delete_replaced(store, settings):
                console.print(f"{run_id}: replaced and deleted", highlight=False)
    return EXIT_OK


def wandb_view(options: argparse.Namespace) -> int:
    """Create the study's workspace and report in Weights & Biases, or bring them up to date."""
    from raystudy.cluster.tracking import TrackingSettings

    settings = TrackingSettings.parse(options.project)
    if not settings.entity:
        raise SpecError(f"a workspace belongs to somebody: give --project {settings.project}/ENTITY")
    if problems := settings.problems():
        raise SpecError(problems)
    from raystudy.cluster.tracking_report import save_report
    from raystudy.cluster.tracking_view import save_view
    from raystudy.cluster.wandb_service import service_ended

    store, console = Store.open(options.storage), make_console()
    with service_ended():
        for name in studies(options):
            question = str(store.read_study(name).get("question", ""))
            workspace = save_view(store, name, settings.entity, settings.project)
            console.print(f"{name}: workspace {workspace}", soft_wrap=True, highlight=False)
            report = save_report(store, name, question, settings.entity, settings.project)
            console.print(f"{name}: report {report}", soft_wrap=True, highlight=False)
    return EXIT_OK
