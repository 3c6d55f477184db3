"""Commands on pre-trained weights: `raystudy pretrain`."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from raystudy.commands import EXIT_OK
from raystudy.console import make_console
from raystudy.errors import SpecError
from raystudy.spec.presets import load_preset
from raystudy.store import Store


def add(added: "argparse._SubParsersAction[Any]") -> None:
    """The commands on pre-trained weights."""
    made = added.add_parser("pretrain", help="make the weights that pretrained trials start from")
    made.add_argument("--preset", default="demo", help="smoke or demo: the recipe (default %(default)s)")
    made.add_argument("--backbone", help="the preset's when not given")
    made.add_argument("--norm", default="gn", help="gn, bn or none (default %(default)s)")
    made.add_argument("--storage", help="where the weights go (default runs/PRESET)")
    made.set_defaults(function=pretrain)


def pretrain(options: argparse.Namespace) -> int:
    from raystudy.cluster.weights import make_weights

    preset = load_preset(options.preset)
    if preset.pretraining is None:
        raise SpecError(f"preset {preset.name} has no pre-training recipe; give trials a file with --weights FILE")
    recipe = dataclasses.replace(
        preset.pretraining,
        backbone=options.backbone or preset.base.model.backbone,
        norm=options.norm,
        norm_groups=preset.base.model.norm_groups,
        norm_group_channels=preset.base.model.norm_group_channels,
    )
    store = Store.open(Path(options.storage or f"runs/{options.preset}").expanduser(), create=True)
    folder = make_weights(store, recipe)
    make_console().print(f"Weights: {folder}", soft_wrap=True, highlight=False)
    return EXIT_OK
