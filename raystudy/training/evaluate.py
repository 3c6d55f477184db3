"""Finished weights, evaluated again without training, under the trial's own EvalSpec or another."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from raystudy import atomic
from raystudy.data.coco import CocoDataset
from raystudy.data.splits import open_split
from raystudy.errors import SpecError, StorageError
from raystudy.evaluation.matches import Matches
from raystudy.evaluations import StoredEvaluation, keep_evaluation
from raystudy.finished import FinishedTrial
from raystudy.models.detector import Detector, build_detector
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.trial import TrialSpec
from raystudy.training.state import STATE_FILE, compiled
from raystudy.training.validation import Validator


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What an evaluation found."""

    metrics: dict[str, float]
    """Under the names of ``EvalRow``'s columns; nan where nothing is to be measured."""

    matches: Mapping[str, Matches]


def checked_device(device: str) -> torch.device:
    """The device of that name.

    Raises:
        SpecError: this machine has none, or torch cannot use it.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise SpecError("device cuda was asked for, but torch finds no GPU here; take --device cpu")
    return torch.device(device)


def load_detector(spec: TrialSpec, checkpoint: Path, device: torch.device) -> Detector:
    """The detector of ``spec`` with the weights of a checkpoint, in evaluation mode.

    Raises:
        StorageError: the checkpoint's weights are not those of the spec's model.
    """
    model = build_detector(spec.model, spec.data.num_categories, spec.evaluation)
    content = torch.load(checkpoint / STATE_FILE, map_location="cpu", weights_only=True)
    try:
        model.load_state_dict(content["model"])
    except (KeyError, RuntimeError) as error:
        raise StorageError(f"the weights of {checkpoint} are not those of its trial's model: {error}") from error
    return compiled(model, spec).to(device).eval()


def evaluate_weights(model: Detector, spec: TrialSpec, dataset: CocoDataset, device: torch.device) -> Evaluated:
    """Metrics and matches of a detector over a whole validation set, under ``spec.evaluation``.

    Args:
        model: the detector; its own ``evaluation`` becomes the spec's.
        spec: of the trial, with the evaluation that is asked for.
        dataset: the validation set.
        device: where the model lives.
    """
    model.evaluation = spec.evaluation
    validator = Validator(dataset, spec)
    metrics = validator.metrics(model, device)
    return Evaluated(metrics, validator.matches())


def evaluate_trial(
    trial: FinishedTrial, evaluation: EvalSpec, device: str = "cpu", threads: int = 1
) -> StoredEvaluation:
    """The metrics of a trial's final weights under ``evaluation``, kept in its storage.

    Look with ``evaluations.read_evaluation`` first: this always evaluates.

    Args:
        trial: complete.
        evaluation: how detections are made and scored.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads; part of the last bits, so that a trial's own number gives its own row's.

    Raises:
        RaystudyError: the weights were deleted, the data cannot be read, or the device is not there.
    """
    place = checked_device(device)
    torch.set_num_threads(threads)
    checkpoint = trial.checkpoint()
    spec = dataclasses.replace(trial.spec, evaluation=evaluation)
    model = load_detector(spec, checkpoint, place)
    found = evaluate_weights(model, spec, open_split(spec.data, "val"), place)
    metrics = dict(found.metrics)
    stored = StoredEvaluation(
        trial_id=trial.trial_id,
        evaluation=evaluation,
        iteration=trial.record.iteration,
        num_images=int(metrics.pop("num_images")),
        metrics={name: value for name, value in metrics.items() if value == value},
        weights_sha256=atomic.read_json(checkpoint / atomic.MANIFEST)["sha256"][STATE_FILE],
        provenance={"raystudy": version("raystudy"), "torch": torch.__version__, "device": device, "threads": threads},
    )
    keep_evaluation(trial.store, stored, found.matches)
    return stored
