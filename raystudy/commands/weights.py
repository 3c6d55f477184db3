"""Commands on pre-trained weights: `raystudy pretrain`."""

import argparse
import dataclasses
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raystudy.cluster.settings import RunSettings, default_device
from raystudy.commands import EXIT_INTERRUPTED, EXIT_OK
from raystudy.commands.frame import Subparsers, add_command
from raystudy.console import make_console
from raystudy.errors import SpecError
from raystudy.files import storage_location
from raystudy.spec.presets import PRESETS, load_preset
from raystudy.spec.pretraining import recipe_problems, with_batch, with_length
from raystudy.spec.trial import PretrainSpec, recipe_for
from raystudy.store import Store
from raystudy.weights_flags import recipe_on_folder

if TYPE_CHECKING:
    from rich.console import Console

    from raystudy.provenance import WeightsProvenance

LINE_INTERVAL_S = 5.0
"""Least time between two lines of progress."""

_EXAMPLES = """
raystudy pretrain --preset demo --norm bn
raystudy pretrain --preset paper --data /data/imagenet --norm gn --storage /shared/study
raystudy pretrain --preset demo --data my_pictures --passes 20 --image-size 64 --workers 2
"""
_NOTES = """The recipe is the preset's: paper is 100 epochs of ImageNet, demo and smoke a minute or less of textures.
A folder holds train/<class>/ and val/<class>/; without val a tenth of each class is held out. Interrupted, the same
command goes on where it was."""


def add(added: "Subparsers[Any]") -> None:
    """The commands on pre-trained weights."""
    text = "make the weights that pretrained trials start from"
    made = add_command(added, "pretrain", text, pretrain, _EXAMPLES, _NOTES)
    what = made.add_argument_group("what to train")
    what.add_argument("--preset", choices=tuple(PRESETS), default="demo", help="the recipe (default %(default)s)")
    what.add_argument("--data", metavar="FOLDER", help="a folder of labelled pictures; the recipe's own otherwise")
    what.add_argument("--backbone", help="the preset's when not given")
    what.add_argument("--norm", default="gn", help="of the trials: gn, sync_bn, bn, frozen_bn or none (%(default)s)")
    length = what.add_mutually_exclusive_group()
    length.add_argument("--iterations", type=int, help="warm-up and drops of the rate scale with them")
    length.add_argument("--passes", type=float, help="over the training pictures, instead of iterations")
    what.add_argument("--batch-size", type=int, help="of all workers; as many pictures are seen, SGD's rate follows")
    what.add_argument("--image-size", type=int, help="side of the crops, pixels")
    what.add_argument("--lr", type=float, help="base rate of the whole batch")
    what.add_argument("--seed", type=int, help="of the initial weights and the order of pictures")
    what.add_argument("--workers", type=int, help="that share a batch (each with a GPU, where there are GPUs)")
    what.add_argument("--precision", choices=("fp32", "bf16"), help="of the arithmetic")
    how = made.add_argument_group("how to run it")
    how.add_argument("--storage", help="where the weights go (default runs/PRESET)")
    how.add_argument("--threads", type=int, default=1, help="CPU threads of a worker (default %(default)s)")
    how.add_argument("--device", choices=("cpu", "cuda"), help="cuda where this machine has a GPU, else cpu")
    how.add_argument("--loader-processes", type=int, help="processes that decode a worker's pictures")


def pretrain(options: argparse.Namespace) -> int:
    """`raystudy pretrain`."""
    from raystudy.cluster.preflight import check_pretraining

    recipe, console = build_recipe(options), make_console()
    settings = _settings(recipe, options)
    check_pretraining(recipe, settings)
    store = Store.open(settings.storage, create=True)
    _print_recipe(recipe, console)
    try:
        with _Progress(store, recipe, console):
            folder = _make(recipe, settings)
    except KeyboardInterrupt:
        console.print("Stopped. Give the same command again to go on.")
        return EXIT_INTERRUPTED
    known = store.weights_provenance(recipe.weights_id)
    assert known is not None
    _print_result(folder, known, console)
    return EXIT_OK


def build_recipe(options: argparse.Namespace) -> PretrainSpec:
    """The preset's recipe with the command line's changes.

    Raises:
        RaystudyError: what was asked cannot be; all problems at once.
    """
    preset = load_preset(options.preset)
    if preset.pretraining is None:
        raise SpecError(f"preset {preset.name} has no recipe of pre-training; give trials a file with --weights FILE")
    changes = {"backbone": options.backbone, "norm": options.norm}
    model = dataclasses.replace(preset.base.model, **{name: value for name, value in changes.items() if value})
    recipe = recipe_for(model, preset.pretraining)
    recipe = recipe if options.data is None else recipe_on_folder(recipe, options.data)
    _check_numbers(options)
    if options.batch_size is not None:
        recipe = with_batch(recipe, options.batch_size)
    if options.iterations is not None:
        recipe = with_length(recipe, options.iterations)
    if options.passes is not None:
        recipe = with_length(recipe, round(options.passes * _num_train(recipe) / recipe.batch_size))
    given = {"image_size": options.image_size, "base_lr": options.lr, "seed": options.seed}
    given |= {"workers": options.workers, "precision": options.precision}
    recipe = dataclasses.replace(recipe, **{name: value for name, value in given.items() if value is not None})
    if problems := [*model.problems(), *recipe_problems(recipe)]:
        raise SpecError(problems)
    return recipe


def _make(recipe: PretrainSpec, settings: RunSettings) -> Path:
    """As a study's node does: one worker in this process, several in a nested run."""
    from raystudy.cluster.connection import connection
    from raystudy.cluster.nested import close_workers
    from raystudy.cluster.weights import make_weights

    if recipe.workers == 1 or Store.open(settings.storage).has_weights(recipe.weights_id):
        return make_weights(recipe, settings, in_workers=False)
    with connection(nested=True):
        try:
            return make_weights(recipe, settings, in_workers=True)
        finally:
            close_workers()


def _check_numbers(options: argparse.Namespace) -> None:
    """Those that recipes are scaled by, before they are."""
    given = {"iterations": options.iterations, "passes": options.passes, "batch-size": options.batch_size}
    wrong = {name: value for name, value in given.items() if value is not None and value <= 0}
    if wrong:
        raise SpecError([f"--{name} is {value:g}, but must be above 0" for name, value in wrong.items()])


def _num_train(recipe: PretrainSpec) -> int:
    if recipe.data == "textures":
        return recipe.num_pictures
    if not recipe.data_path:
        raise SpecError("--passes needs the pictures that are passed over: give them with --data FOLDER")
    from raystudy.data.image_folder import ImageFolder

    return len(ImageFolder.open(Path(recipe.data_path)).train)


def _settings(recipe: PretrainSpec, options: argparse.Namespace) -> RunSettings:
    """Pictures of a folder are decoded by four processes a worker where a GPU waits for them."""
    device = options.device or default_device()
    loaders = 4 if recipe.data == "imagefolder" and device == "cuda" else 0
    return RunSettings(
        storage=storage_location(options.storage or f"runs/{options.preset}"),
        study="pretrain",
        threads=options.threads,
        device=device,
        loader_processes=loaders if options.loader_processes is None else options.loader_processes,
    )


def _print_recipe(recipe: PretrainSpec, console: "Console") -> None:
    rate = f"drops at {', '.join(f'{drop:,}' for drop in recipe.lr_drops)}" if recipe.lr_drops else "cosine"
    workers = "1 worker" if recipe.workers == 1 else f"{recipe.workers} workers"
    lines = [
        f"{recipe.weights_id}: {recipe.backbone} with norm {recipe.norm}, {recipe.iterations:,} iterations of "
        f"{recipe.batch_size} pictures of {recipe.image_size} px, {recipe.optimizer} at {recipe.base_lr:g} ({rate}), "
        f"{workers}"
    ]
    if recipe.data == "imagefolder":
        from raystudy.data.image_folder import ImageFolder

        lines.append(ImageFolder.open(Path(recipe.data_path)).summary())
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


def _print_result(folder: Path, known: "WeightsProvenance", console: "Console") -> None:
    top1 = "not known" if known.top1 is None else f"{known.top1:.1%}"
    took = "" if known.wall_time_s is None else f", {known.wall_time_s:,.0f} s of training"
    console.print(
        f"Top-1 {top1} of {known.num_classes} classes after {known.images_seen or 0:,} pictures{took}\n"
        f"Weights: {folder / 'weights.pt'} (for --weights of a study)",
        soft_wrap=True,
        highlight=False,
    )


class _Progress:
    """Prints a line whenever the storage says that pre-training is further, wherever its workers run."""

    def __init__(self, store: Store, recipe: PretrainSpec, console: "Console") -> None:
        self._store, self._recipe, self._console = store, recipe, console
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "_Progress":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        shown, began = self._iteration(), None
        while not self._stop.wait(1.0):
            progress = self._store.pretraining_progress(self._recipe.weights_id)
            if progress is None or progress["iteration"] == shown:
                continue
            now, iteration, end = time.monotonic(), int(progress["iteration"]), int(progress["end"])
            if began is None:
                began = (now, iteration)
            done = iteration - began[1]
            left = f", about {(end - iteration) * (now - began[0]) / done:,.0f} s left" if done else ""
            self._console.print(
                f"{iteration:,}/{end:,} iterations, loss {progress['loss']:.3f}, rate {progress['lr']:.2g}{left}",
                soft_wrap=True,
                highlight=False,
            )
            shown = iteration
            self._stop.wait(LINE_INTERVAL_S - 1.0)

    def _iteration(self) -> int:
        progress = self._store.pretraining_progress(self._recipe.weights_id)
        return 0 if progress is None else int(progress["iteration"])
