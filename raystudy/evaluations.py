"""What finished weights gave under other evaluations than their trial's own: kept beside the trials, read by anyone.

    STORAGE/evaluations/<trial_id>/<evaluation_id>/
        evaluation.json     {"version": 1, "trial_id", "evaluation_id", "iteration",
                             "evaluation": the EvalSpec with all of its fields,
                             "metrics": percent, by the names of EvalRow's columns, those that were measured,
                             "num_images", "weights_sha256": of the state that was evaluated,
                             "provenance": versions, device, threads}
        <kind>.npz          what was matched, as raystudy.evaluation.matches has it; kind is box, mask or keypoint
        manifest.json       checksums: the folder is whole

The id is a digest of the EvalSpec's identity: the same weights under the same evaluation are evaluated once.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raystudy import atomic
from raystudy.errors import CorruptCheckpointError, StorageError
from raystudy.segment_store import SavesItself
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.identity import digest, from_dict, identity_dict
from raystudy.store import Store

EVALUATION_VERSION = 1
_FILE = "evaluation.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredEvaluation:
    """The metrics of finished weights under one EvalSpec."""

    trial_id: str
    evaluation: EvalSpec
    iteration: int
    """Of the weights."""

    metrics: dict[str, float]
    """Percent; without those that were not measured."""

    num_images: int
    weights_sha256: str
    provenance: dict[str, Any]

    @property
    def evaluation_id(self) -> str:
        """Names it beside others of the same trial."""
        return evaluation_id(self.evaluation)


def evaluation_id(evaluation: EvalSpec) -> str:
    """A pure function of all that decides what an evaluation finds."""
    return digest(identity_dict(evaluation))


def evaluations_place(trial_id: str) -> str:
    """Where in the storage the evaluations of a trial lie."""
    return f"evaluations/{trial_id}"


def read_matches(store: Store, found: StoredEvaluation, kind: str) -> bytes | None:
    """The matches of one kind (``box``, ``mask`` or ``keypoint``), as an .npz file; None when there are none."""
    return store.files.read_in(f"{evaluations_place(found.trial_id)}/{found.evaluation_id}", f"{kind}.npz")


def keep_evaluation(store: Store, found: StoredEvaluation, matches: Mapping[str, SavesItself]) -> None:
    """Keep an evaluation, whole or not at all; one of the same trial and EvalSpec is replaced."""

    def fill(folder: Path) -> None:
        content = {"version": EVALUATION_VERSION, "evaluation_id": found.evaluation_id, **asdict(found)}
        atomic.write_json(folder / _FILE, content)
        for kind, own in matches.items():
            own.save(folder / f"{kind}.npz")

    store.files.publish(f"{evaluations_place(found.trial_id)}/{found.evaluation_id}", fill)


def read_evaluation(store: Store, trial_id: str, evaluation: EvalSpec) -> StoredEvaluation | None:
    """What was kept of a trial under an EvalSpec; None when nothing was, or what was is damaged."""
    return _read(store, f"{evaluations_place(trial_id)}/{evaluation_id(evaluation)}")


def read_evaluations(store: Store, trial_id: str) -> list[StoredEvaluation]:
    """All that was kept of a trial, without what is damaged."""
    folder = evaluations_place(trial_id)
    found = [_read(store, f"{folder}/{name}") for name in store.files.names(folder)]
    return [evaluation for evaluation in found if evaluation is not None]


def _read(store: Store, place: str) -> StoredEvaluation | None:
    try:
        folder = store.files.fetch(place)
    except CorruptCheckpointError:
        return None
    content = atomic.read_json(folder / _FILE)
    version = content.pop("version", None)
    if version != EVALUATION_VERSION:
        raise StorageError(
            f"{store.location}/{place} holds an evaluation of version {version}, but this raystudy reads "
            f"{EVALUATION_VERSION}"
        )
    content.pop("evaluation_id")
    return StoredEvaluation(**{**content, "evaluation": from_dict(EvalSpec, content["evaluation"], "evaluation")})
