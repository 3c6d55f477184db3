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
from raystudy.store import PROGRESS_FILE, PROVENANCE_FILE, Store

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
        in_workers: train in a nested Ray Train run, which needs Ray; else in this very process, as one worker.

    Raises:
        RaystudyError: the recipe cannot be trained, or it failed at every attempt.
    """
    store = Store.open(settings.storage)
    final, work = store.weights_folder(recipe.weights_id), store.weights_work_folder(recipe.weights_id)
    if store.has_weights(recipe.weights_id):
        return final
    with locked(final.with_name(f".{final.name}.lock")):
        if not store.has_weights(recipe.weights_id):
            (work / REFUSAL_FILE).unlink(missing_ok=True)
            if in_workers:
                _train_in_workers(recipe, settings, work)
            else:
                _train(recipe, settings, work)
            _publish(work / WEIGHTS_FILE, atomic.read_json(work / PROVENANCE_FILE), final)
            shutil.rmtree(work, ignore_errors=True)
    return final


def adopt_weights(store: Store, init: InitSpec) -> Path:
    """Copy a weights file that a user brings into the storage, so that every node finds it there.

    What the user says that it has seen is kept beside it, also when the file itself was there already.
    """
    from raystudy.models.torchvision_file import local_file
    from raystudy.models.weights_origin import origin

    final, known = store.weights_folder(init.weights_id), store.weights_provenance(init.weights_id)
    if known is None:
        source = local_file(init.weights_file)
        content = dataclasses.replace(origin(source), weights_id=init.weights_id)
    else:
        source, content = final / WEIGHTS_FILE, known
    if init.weights_images is not None:
        content = with_images(content, init.weights_images)
    if content != known:
        _publish(source, content.to_dict(), final)
    return final


def _train(recipe: PretrainSpec, settings: RunSettings, work: Path) -> None:
    """As one worker of as many as there are in this process's group."""
    import torch

    from raystudy.training import collectives
    from raystudy.training.pretraining import pretrain

    torch.set_num_threads(settings.threads)
    began = time.time()

    def tell(row: "PretrainRow") -> None:
        if collectives.rank() == 0:
            progress = {"iteration": row.iteration, "end": recipe.iterations, "loss": row.loss, "lr": row.lr}
            atomic.write_json(work / PROGRESS_FILE, {**progress, "began": began, "time": time.time()})

    pretrain(recipe, work, tell, torch.device(settings.device), settings.loader_processes)


def _train_in_workers(recipe: PretrainSpec, settings: RunSettings, work: Path) -> None:
    from raystudy.cluster.nested import run_in_workers

    config = {"recipe": to_dict(recipe), "settings": to_dict(settings), "work": str(work)}
    run_in_workers(_worker, config, node_id=recipe.weights_id, workers=recipe.workers)
    if (work / REFUSAL_FILE).is_file():
        refusal = atomic.read_json(work / REFUSAL_FILE)
        kinds = {kind.__name__: kind for kind in _REFUSALS}
        raise kinds[refusal["kind"]](refusal["problems"])


_REFUSALS: tuple[type[Exception], ...] = (SpecError, DataError, TrainingError)


def _worker(config: dict[str, Any]) -> None:
    """One rank of a nested Ray Train run; its process group stands already."""
    from raystudy.training import collectives

    work = Path(config["work"])
    if collectives.broadcast_object((work / REFUSAL_FILE).is_file()):
        return
    try:
        _train(from_dict(PretrainSpec, config["recipe"]), from_dict(RunSettings, config["settings"]), work)
    except _REFUSALS as error:
        kind = next(kind.__name__ for kind in _REFUSALS if isinstance(error, kind))
        problems = getattr(error, "problems", str(error))
        atomic.write_json(work / REFUSAL_FILE, {"kind": kind, "problems": problems})
        raise


def _publish(weights: Path, provenance: dict[str, Any], final: Path) -> None:
    def fill(folder: Path) -> None:
        shutil.copyfile(weights, folder / WEIGHTS_FILE)
        atomic.write_json(folder / PROVENANCE_FILE, provenance)

    atomic.publish_folder(final, fill)
