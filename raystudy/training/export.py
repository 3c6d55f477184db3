"""Final weights written as a plain state dict with a card that says what they are, and read again."""

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from raystudy import atomic
from raystudy.data.splits import category_names, keypoint_skeleton
from raystudy.errors import StorageError, WeightsError
from raystudy.exported import CARD_FILE, EXPORT_VERSION, WEIGHTS_FILE, ExportedTrial, checksum
from raystudy.finished import FinishedTrial
from raystudy.models.detector import Detector, build_detector
from raystudy.models.torchvision_names import builder_of, from_torchvision, to_torchvision
from raystudy.training.state import STATE_FILE


def export_trial(trial: FinishedTrial, folder: Path, form: str = "raystudy", commit: str = "unknown") -> dict[str, Any]:
    """Write the final weights of ``trial`` into ``folder``; returns the card.

    Args:
        trial: complete.
        folder: made when it is not there; an older export in it is replaced.
        form: ``raystudy`` keeps our names, ``torchvision`` gives torchvision's.
        commit: of this raystudy, for the record.

    Raises:
        SpecError: torchvision has no such model, with all that differs.
        StorageError: the weights were deleted, or the folder cannot be written.
    """
    spec = trial.spec
    builder = builder_of(spec) if form == "torchvision" else None
    content = torch.load(trial.checkpoint() / STATE_FILE, map_location="cpu", weights_only=True)
    state: dict[str, Tensor] = {name: value.contiguous() for name, value in content["model"].items()}
    if builder is not None:
        state = to_torchvision(state, spec.model)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        hidden = folder / f".{WEIGHTS_FILE}.{os.getpid()}.tmp"
        torch.save(state, hidden)
        os.replace(hidden, folder / WEIGHTS_FILE)
        card = _card(trial, form, commit) | {"sha256": checksum(folder / WEIGHTS_FILE)}
        card |= {"torchvision": builder} if builder is not None else {}
        atomic.write_json(folder / CARD_FILE, card)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror or error}") from error
    return card


def load_exported(exported: ExportedTrial, device: torch.device) -> Detector:
    """The detector of an exported folder, in evaluation mode.

    Raises:
        WeightsError: the weights are not those of the card's model.
    """
    spec = exported.spec
    model = build_detector(spec.model, spec.data.num_categories, spec.evaluation)
    state = torch.load(exported.weights, map_location="cpu", weights_only=True)
    if exported.card["format"] == "torchvision":
        state = from_torchvision(state, spec.model)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{exported.weights} does not fit the model of its {CARD_FILE}: {error}") from error
    return model.to(device).eval()


def _card(trial: FinishedTrial, form: str, commit: str) -> dict[str, Any]:
    row = trial.final_row()
    results = {ref.segment_id: trial.store.segment(ref.segment_id).result() or {} for ref in trial.record.segments}
    segments = {name: {"device": found.get("device"), **found.get("provenance", {})} for name, found in results.items()}
    init = trial.spec.init
    origin = trial.store.weights_provenance(init.weights_id) if init.kind == "pretrained" else None
    return {
        "version": EXPORT_VERSION,
        "format": form,
        "weights": WEIGHTS_FILE,
        "trial_id": trial.trial_id,
        "spec": trial.record.spec,
        "categories": category_names(trial.spec.data),
        "skeleton": keypoint_skeleton(trial.spec.data),
        "iteration": trial.record.iteration,
        "metrics": trial.record.metrics,
        "exposure": {} if row is None else {name: getattr(row, name) for name in EXPOSURE},
        "provenance": {
            "raystudy": version("raystudy"),
            "commit": commit,
            "segments": segments,
            "weights": None if origin is None else origin.to_dict(),
        },
    }


EXPOSURE = ("images", "instances", "pixels_nominal", "pixels_measured")
"""What the trial's final row says that the network has seen; pre-training's is in the provenance of its weights."""
