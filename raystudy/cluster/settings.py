"""What a run needs beyond its spec."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from raystudy.cluster.tracking import TrackingSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """Where and with what a study runs. Decides no result; threads and device decide its last bits."""

    storage: str
    study: str
    threads: int = 1
    """CPU threads of one worker."""

    device: Literal["cpu", "cuda"] = "cpu"
    loader_processes: int = 0
    """Processes that prepare batches for one worker; 0 prepares them in the worker."""

    tracking: TrackingSettings | None = None
    """Weights & Biases; None is off."""

    tensorboard: bool = False
    """Whether rows are also written for TensorBoard, below the storage."""


def default_device() -> Literal["cpu", "cuda"]:
    """``cuda`` where this machine has a GPU, else ``cpu``; does not load torch."""
    has_gpu = Path("/proc/driver/nvidia/version").exists() and os.environ.get("CUDA_VISIBLE_DEVICES") != ""
    return "cuda" if has_gpu else "cpu"
