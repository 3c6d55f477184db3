"""Pre-trained weights as storage keeps them: made once, whole or not there."""

import hashlib
import shutil
from pathlib import Path

from raystudy import atomic
from raystudy.spec.trial import InitSpec, PretrainSpec
from raystudy.store import Store

WEIGHTS_FILE = "weights.pt"
PROVENANCE_FILE = "provenance.json"


def make_weights(store: Store, recipe: PretrainSpec) -> Path:
    """The folder of the weights that ``recipe`` makes; trains them when the storage has none."""
    from raystudy.training.pretraining import pretrain

    final = store.weights_folder(recipe.weights_id)
    if store.has_weights(recipe.weights_id):
        return final
    work = final.with_name(f".{final.name}.work")  # keeps the training's own checkpoints until the weights are whole
    pretrain(recipe, work, None)
    _publish(work / WEIGHTS_FILE, work / PROVENANCE_FILE, final)
    shutil.rmtree(work, ignore_errors=True)
    return final


def adopt_weights(store: Store, init: InitSpec) -> Path:
    """Copy a weights file that a user brings into the storage, so that every node finds it there."""
    final = store.weights_folder(init.weights_id)
    if store.has_weights(init.weights_id):
        return final
    source = Path(init.weights_file)
    content = {"source": source.name, "sha256": hashlib.sha256(source.read_bytes()).hexdigest()}
    work = final.with_name(f".{final.name}.provenance.json")
    atomic.write_json(work, content)
    _publish(source, work, final)
    work.unlink()
    return final


def _publish(weights: Path, provenance: Path, final: Path) -> None:
    def fill(folder: Path) -> None:
        shutil.copyfile(weights, folder / WEIGHTS_FILE)
        shutil.copyfile(provenance, folder / PROVENANCE_FILE)

    atomic.publish_folder(final, fill)
