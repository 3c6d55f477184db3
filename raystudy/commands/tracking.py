"""Commands on what Weights & Biases shows: `raystudy wandb-sync` and `wandb-view`."""

import argparse
from typing import Any

from raystudy.commands import EXIT_OK
from raystudy.commands.storage import add_storage_command, studies
from raystudy.console import make_console
from raystudy.errors import SpecError
from raystudy.store import Store


def add(added: "argparse._SubParsersAction[Any]") -> None:
    """The commands on Weights & Biases."""
    sync = add_storage_command(added, "wandb-sync", "send Weights & Biases what it has not got", wandb_sync)
    view = add_storage_command(
        added, "wandb-view", "make or update the study's workspace in Weights & Biases", wandb_view
    )
    for made in (sync, view):
        made.add_argument("--project", required=True, metavar="PROJECT[/ENTITY]")


def wandb_sync(options: argparse.Namespace) -> int:
    """Bring to Weights & Biases what it has not got, each point once."""
    from raystudy.cluster.tracking import TrackingSettings
    from raystudy.cluster.tracking_sync import sync_study

    store, settings = Store.open(options.storage), TrackingSettings.parse(options.project)
    for name in studies(options):
        for run_id, points in sync_study(store, name, settings):
            make_console().print(f"{run_id}: {points} new points", highlight=False)
    return EXIT_OK


def wandb_view(options: argparse.Namespace) -> int:
    """Create the study's workspace in Weights & Biases, or bring it up to date."""
    from raystudy.cluster.tracking import TrackingSettings
    from raystudy.cluster.tracking_view import save_view

    settings = TrackingSettings.parse(options.project)
    if not settings.entity:
        raise SpecError(f"a workspace belongs to somebody: give --project {settings.project}/ENTITY")
    for name in studies(options):
        address = save_view(Store.open(options.storage), name, settings.entity, settings.project)
        make_console().print(f"{name}: {address}", soft_wrap=True, highlight=False)
    return EXIT_OK
