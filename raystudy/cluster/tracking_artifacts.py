"""Final weights in Weights & Biases, on request, with what they were made from.

    data-<checksum> ──┐
                      ├──> run of the trial ──> <trial_id> (type "detector": its weights)
    <weights_id> ─────┘

Data and pre-trained weights stand there by name, checksum and provenance only; neither pictures nor the pre-trained
weights themselves are uploaded. Everything that lineage says is in the artifact's metadata, too, so that runs which are
kept offline lack nothing but the arrows.
"""

import hashlib
import json
import logging
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from raystudy.cluster.tracked_runs import TrackedRun
from raystudy.store import Store

LOGGER = logging.getLogger(__name__)

STATE_FILE = "state.pt"
"""Of a checkpoint, as ``raystudy.training.state`` names it."""

WEIGHTS_FILE = "detector.pt"


def log_weights(started: wandb.Run, run: TrackedRun, store: Store, ending: Mapping[str, Any], timeout_s: float) -> None:
    """Upload the weights of a complete trial; what cannot be done is told, and costs the trial nothing.

    Args:
        started: the run.
        run: what it is; only trials have weights.
        store: holds the checkpoint.
        ending: the run's summary, for the artifact's metadata.
        timeout_s: how long wandb may ask the server before the upload begins: that waiting has no end when a server
            hangs. The upload itself has the run's bound.
    """
    if not run.is_trial:
        return

    def log() -> None:
        inputs = _inputs(run, store)
        try:
            with tempfile.TemporaryDirectory() as folder:
                weights = _weights(run, store, ending, inputs, Path(folder))
                if not started.offline:
                    for one in inputs:
                        started.use_artifact(_described(*one))
                started.log_artifact(weights, aliases=["final"])
        except Exception as error:
            LOGGER.warning("%s: its weights are not in W&B (%s: %s)", run.run_id, type(error).__name__, error)

    thread = threading.Thread(target=log, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        LOGGER.warning("%s: its weights are not in W&B (no answer within %g s)", run.run_id, timeout_s)


def _weights(
    run: TrackedRun,
    store: Store,
    ending: Mapping[str, Any],
    inputs: list[tuple[str, str, dict[str, Any]]],
    folder: Path,
) -> wandb.Artifact:
    import torch

    trained = (run.segment_id, *(ref.segment_id for ref in reversed(run.earlier)))  # an evaluation has no checkpoint
    segments = [store.segment(segment_id) for segment_id in trained if segment_id]
    checkpoint = next((s for s in segments if s.has_checkpoint(run.end)), segments[0]).load(run.end)
    content = torch.load(checkpoint / STATE_FILE, map_location="cpu", weights_only=True, mmap=True)
    path = folder / WEIGHTS_FILE
    torch.save({"model": content["model"], "trial_id": run.run_id, "iteration": run.end}, path)
    metadata = {
        "trial_id": run.run_id,
        "iteration": run.end,
        "study": run.group,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "inputs": {kind: {"name": name, **described} for name, kind, described in inputs},
        **{key: value for key, value in ending.items() if key.startswith(("final/", "exposure/"))},
    }
    artifact = wandb.Artifact(run.run_id, type="detector", metadata=metadata)
    artifact.add_file(str(path), name=WEIGHTS_FILE, policy="mutable", skip_cache=True)
    return artifact


def _inputs(run: TrackedRun, store: Store) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, type and description of what the trial was made from."""
    data = {key.removeprefix("data_"): value for key, value in run.config.items() if key.startswith("data_")}
    kept = {key: value for key, value in data.items() if "checksum" in key or key in ("name", "format")}
    found = [(f"data-{str(kept.get('train_checksum', ''))[-24:] or 'unknown'}", "dataset", kept)]
    weights_id = str(run.config.get("init_weights_id", ""))
    if weights_id:
        known = store.weights_provenance(weights_id)
        described = {} if known is None else known.to_dict()
        found.append((weights_id, "pretrained-weights", {**described, "weights_id": weights_id}))
    return found


def _described(name: str, kind: str, described: dict[str, Any]) -> wandb.Artifact:
    """An artifact that stands for something which is not uploaded."""
    artifact = wandb.Artifact(name, type=kind, metadata=described)
    with artifact.new_file("description.json", mode="w") as stream:
        json.dump(described, stream, indent=1, sort_keys=True, default=str)
    return artifact
