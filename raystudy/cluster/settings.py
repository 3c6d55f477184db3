"""What a run needs beyond its spec."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from raystudy.cluster.tracking import TrackingSettings

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """Where and with what a study runs. Decides no result; threads and device decide its last bits."""

    storage: str
    study: str
    threads: int = 1
    """CPU threads of one worker."""

    device: Device = "cpu"
    """``auto`` is settled when the cluster is known: cuda where it has GPUs or can have some."""

    priority: int = 0
    """Of studies that share a cluster, those with a higher one get free room first."""

    wait_minutes: float = 60.0
    """How long to wait for machines when the cluster is too small for a node; 0 is for ever."""

    retry_failed: bool = False
    """Whether trials that failed for good are tried again."""

    collective_timeout_s: int = 600
    """How long the workers of a trial wait for one that does not answer, before they end and the trial starts again."""

    hung_after_s: int = 1800
    """A training process that gets no batch for so long hangs: it ends, and its node is tried again; 0 is never."""

    notices: str = ""
    """Address of the metadata service that tells when a spot machine is taken back; nothing is asked when empty."""

    loader_processes: int = 0
    """Processes that prepare batches for one worker; 0 prepares them in the worker."""

    cache_gib: float | None = None
    """GiB of resized pictures that a machine keeps for all of its processes; None takes a share of what it has."""

    tracking: TrackingSettings | None = None
    """Weights & Biases; None is off."""

    tensorboard: bool = False
    """Whether rows are also written for TensorBoard, below the storage."""


def default_device() -> Literal["cpu", "cuda"]:
    """``cuda`` where this machine has a GPU, else ``cpu``; does not load torch."""
    has_gpu = Path("/proc/driver/nvidia/version").exists() and os.environ.get("CUDA_VISIBLE_DEVICES") != ""
    return "cuda" if has_gpu else "cpu"


def study_device() -> Device:
    """What a study trains on when nobody says: on a cluster that is settled there, for its head may have no GPU."""
    return "auto" if os.environ.get("RAY_ADDRESS") else default_device()
