"""A trial's final weights in a folder of their own, to be used elsewhere. Loads no torch.

trial.json      {"version": 1, "format": "raystudy" or "torchvision", "weights": "weights.pt", "sha256": of that file,
                 "trial_id", "spec": the TrialSpec with all of its fields, "categories": names, label 1 first,
                     "skeleton": pairs of keypoints, from 0, that a line joins,
                 "iteration", "metrics": of the final evaluation, percent, "exposure": what the network has seen,
                 "provenance": {"raystudy", "commit", "segments": what trained them, "weights": of the pre-training},
                 "torchvision": how to build the model there (format torchvision only)}
weights.pt      a plain state dict: ``torch.load(…, weights_only=True)``
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raystudy import atomic
from raystudy.errors import WeightsError
from raystudy.spec.trial import TrialSpec

EXPORT_VERSION = 1
CARD_FILE = "trial.json"
WEIGHTS_FILE = "weights.pt"


@dataclass(frozen=True, slots=True)
class ExportedTrial:
    """An exported folder, read."""

    folder: Path
    card: dict[str, Any]
    """The content of ``trial.json``."""

    spec: TrialSpec

    @property
    def categories(self) -> list[str]:
        """Their names, label 1 first."""
        return list(self.card["categories"])

    @property
    def skeleton(self) -> list[tuple[int, int]]:
        """Pairs of keypoints that a line joins in drawings."""
        return [(int(one), int(other)) for one, other in self.card["skeleton"]]

    @property
    def weights(self) -> Path:
        """The file of the weights."""
        return self.folder / str(self.card["weights"])


def is_export(folder: Path) -> bool:
    """Whether a folder was written by `raystudy export`."""
    return (folder / CARD_FILE).is_file()


def read_export(folder: Path) -> ExportedTrial:
    """An exported folder, its weights' checksum verified.

    Raises:
        WeightsError: it is incomplete, changed, or of another version.
    """
    card = atomic.read_json(folder / CARD_FILE)
    if not isinstance(card, dict) or card.get("version") != EXPORT_VERSION:
        found = card.get("version") if isinstance(card, dict) else None
        raise WeightsError(f"{folder / CARD_FILE} has version {found}, but this raystudy reads {EXPORT_VERSION}")
    weights = folder / str(card["weights"])
    if not weights.is_file():
        raise WeightsError(f"the exported weights {weights} are not there")
    if checksum(weights) != card["sha256"]:
        raise WeightsError(f"{weights} is not the file that was exported: its sha256 differs from {CARD_FILE}'s")
    return ExportedTrial(folder, card, TrialSpec.from_dict(card["spec"]))


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
