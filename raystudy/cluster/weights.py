"""Pre-trained weights as storage keeps them: made once, whole or not there."""

import dataclasses
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raystudy import atomic
from raystudy.cluster.settings import RunSettings
from raystudy.data.locks import locked
from raystudy.errors import DataError, SpecError, TrainingError
from raystudy.provenance import with_images
from raystudy.spec.identity import from_dict, to_dict
from raystudy.spec.trial import InitSpec, PretrainSpec
from raystudy.store import PROVENANCE_FILE, Store, work_place

if TYPE_CHECKING:
    from raystudy.training.pretraining import PretrainRow

WEIGHTS_FILE = "weights.pt"
REFUSAL_FILE = "refusal.json"
"""Why pre-training ended for good: trying again would only repeat it."""


def make_weights(recipe: PretrainSpec, settings: RunSettings, *, in_workers: bool) -> Path:
    """The folder of the weights that ``recipe`` makes; trains them, or goes on with it, when the storage has none.

    One process of a machine at a time; the work folder keeps the training's own checkpoint until the weights are whole.

    Args:
        recipe: what to train.
        settings: where and with what.
        in_workers: train in a group of workers, which needs Ray; else in this very process, as one worker.

    Raises:
        RaystudyError: the recipe cannot be trained, or it failed at every attempt.
    """
    store = Store.open(settings.storage)
    if store.has_weights(recipe.weights_id):
        return store.weights_folder(recipe.weights_id)
    with locked(store.scratch / "weights" / f".{recipe.weights_id}.lock"):
        if not store.has_weights(recipe.weights_id):
            store.files.remove(_refusal(recipe.weights_id))
            if in_workers:
                _train_in_workers(recipe, settings)
            else:
                _train(recipe, settings)
            store.files.remove(work_place(recipe.weights_id))
            shutil.rmtree(_work_folder(store, recipe.weights_id), ignore_errors=True)
    return store.weights_folder(recipe.weights_id)


def adopt_weights(store: Store, init: InitSpec) -> None:
    """Copy a weights file that a user brings into the storage, so that every node finds it there.

    What the user says that it has seen is kept beside it, also when the file itself was there already.
    """
    from raystudy.models.torchvision_file import local_file
    from raystudy.models.weights_origin import origin

    known = store.weights_provenance(init.weights_id)
    if known is None:
        source = local_file(init.weights_file)
        content = dataclasses.replace(origin(source), weights_id=init.weights_id)
    else:
        source, content = store.weights_folder(init.weights_id) / WEIGHTS_FILE, known
    if init.weights_images is not None:
        content = with_images(content, init.weights_images)
    if content != known:
        _publish(store, init.weights_id, source, content.to_dict(), exclusive=False)


def _train(recipe: PretrainSpec, settings: RunSettings) -> None:
    """As one worker of as many as there are in this process's group; the first publishes what comes of it.

    Of several that make the same weights at the same time, the first to be ready counts, and the others' are dropped:
    trials that have begun with weights never see them change.
    """
    import torch

    from raystudy.training import collectives
    from raystudy.training.pretraining import pretrain

    torch.set_num_threads(settings.threads)
    began, store, is_first = time.time(), Store.open(settings.storage), collectives.rank() == 0
    work = _work_folder(store, recipe.weights_id)
    if not store.files.is_local:
        work = work / str(collectives.rank())
        _bring(store, recipe.weights_id, work)

    def tell(row: "PretrainRow") -> None:
        if not is_first:
            return
        if not store.files.is_local:
            _keep(store, recipe.weights_id, work)
        progress = {"iteration": row.iteration, "end": recipe.iterations, "loss": row.loss, "lr": row.lr}
        store.write_pretraining_progress(recipe.weights_id, {**progress, "began": began, "time": time.time()})

    weights = pretrain(recipe, work, tell, torch.device(settings.device), settings.loader_processes)
    if is_first:
        _publish(store, recipe.weights_id, weights, atomic.read_json(work / PROVENANCE_FILE), exclusive=True)


def _bring(store: Store, weights_id: str, work: Path) -> None:
    """Let ``work``, a folder of this worker alone, hold the checkpoint that an object store has, and nothing else."""
    from raystudy.training import collectives
    from raystudy.training.pretraining import CHECKPOINT_FILE

    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    kept = _checkpoint(weights_id)
    if collectives.broadcast_object(collectives.rank() == 0 and store.files.is_published(kept)):
        shutil.copyfile(store.files.fetch(kept) / CHECKPOINT_FILE, work / CHECKPOINT_FILE)


def _keep(store: Store, weights_id: str, work: Path) -> None:
    from raystudy.training.pretraining import CHECKPOINT_FILE

    def fill(folder: Path) -> None:
        shutil.copyfile(work / CHECKPOINT_FILE, folder / CHECKPOINT_FILE)

    store.files.publish(_checkpoint(weights_id), fill)


def _work_folder(store: Store, weights_id: str) -> Path:
    return store.scratch / work_place(weights_id)


def _checkpoint(weights_id: str) -> str:
    return f"{work_place(weights_id)}/checkpoint"


def _refusal(weights_id: str) -> str:
    return f"{work_place(weights_id)}/{REFUSAL_FILE}"


def _train_in_workers(recipe: PretrainSpec, settings: RunSettings) -> None:
    from raystudy.cluster.nested import run_in_workers

    config = {"recipe": to_dict(recipe), "settings": to_dict(settings)}
    try:
        run_in_workers(_worker, config, node_id=recipe.weights_id, workers=recipe.workers)
    except Exception:
        _raise_refusal(settings, recipe.weights_id)
        raise
    _raise_refusal(settings, recipe.weights_id)


def _raise_refusal(settings: RunSettings, weights_id: str) -> None:
    """Raise what a worker has said that cannot be, in its own words instead of Train's tracebacks of all workers."""
    refusal = Store.open(settings.storage).files.read_json(_refusal(weights_id))
    if refusal is not None:
        kinds = {kind.__name__: kind for kind in _REFUSALS}
        raise kinds[refusal["kind"]](refusal["problems"])


_REFUSALS: tuple[type[Exception], ...] = (SpecError, DataError, TrainingError)


def _worker(config: dict[str, Any]) -> None:
    """One rank of a group of workers; its process group stands already."""
    from raystudy.training import collectives

    recipe, settings = from_dict(PretrainSpec, config["recipe"]), from_dict(RunSettings, config["settings"])
    files, refusal = Store.open(settings.storage).files, _refusal(recipe.weights_id)
    if collectives.broadcast_object(collectives.rank() == 0 and files.read(refusal) is not None):
        return
    try:
        _train(recipe, settings)
    except _REFUSALS as error:
        kind = next(kind.__name__ for kind in _REFUSALS if isinstance(error, kind))
        problems = getattr(error, "problems", str(error))
        files.write_json(refusal, {"kind": kind, "problems": problems})
        raise


def _publish(store: Store, weights_id: str, weights: Path, provenance: dict[str, Any], *, exclusive: bool) -> None:
    def fill(folder: Path) -> None:
        shutil.copyfile(weights, folder / WEIGHTS_FILE)
        atomic.write_json(folder / PROVENANCE_FILE, provenance)

    store.files.publish(store.weights_place(weights_id), fill, exclusive=exclusive)
