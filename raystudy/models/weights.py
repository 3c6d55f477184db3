"""Weights files for a backbone: raystudy's own, and torchvision's state dicts. A file that does not fit is refused.

raystudy's file is ``torch.save({"backbone": state_dict, "meta": {...}})``; ``meta["pixels"]`` holds ``order``, ``mean``
and ``std`` (of 0-255 pixels) that the weights were trained with. torchvision's are RGB with ImageNet's statistics.
"""

import hashlib
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from raystudy.errors import WeightsError
from raystudy.models.detector import Detector
from raystudy.spec.model import PixelSpec

TORCHVISION_PIXELS = PixelSpec(order="rgb", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
"""0.485, 0.456, 0.406 and 0.229, 0.224, 0.225 times 255."""

MAX_KEYS_SHOWN = 6


@dataclass(frozen=True, slots=True)
class WeightsReport:
    """What was loaded, for the trial's provenance."""

    path: str
    sha256: str
    source: str
    """``raystudy`` or ``torchvision``."""

    num_tensors: int
    ignored: tuple[str, ...]
    """Keys of the classifier, which a detector has no use for."""

    conversions: tuple[str, ...]
    """What was changed on the way, in words."""

    meta: dict[str, Any] = field(default_factory=dict)


def load_backbone_weights(detector: Detector, path: str | Path) -> WeightsReport:
    """Copy a file's weights into the detector's backbone, the first convolution converted to the detector's pixels.

    Raises:
        WeightsError: a file that cannot be read, or whose keys or shapes are not the backbone's.
    """
    backbone, pixels, path = detector.backbone, detector.spec.pixels, Path(path)
    content, checksum = _read(path)
    source = "raystudy" if "backbone" in content else "torchvision"
    state = dict(content["backbone"] if source == "raystudy" else content)
    meta = dict(content.get("meta", {})) if source == "raystudy" else {}
    ignored = tuple(sorted(key for key in state if key.startswith(("fc.", "classifier."))))
    state = {key: value for key, value in state.items() if key not in ignored}
    _refuse_misfits(path, state, backbone.state_dict())
    trained_on = _pixels(meta) if source == "raystudy" else TORCHVISION_PIXELS
    conversions = _convert_pixels(state, trained_on, pixels)
    backbone.load_state_dict(state, strict=False)
    return WeightsReport(str(path), checksum, source, len(state), ignored, tuple(conversions), meta)


def _read(path: Path) -> tuple[dict[str, Any], str]:
    try:
        with path.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"weights file {path} cannot be read: {error.strerror}") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise WeightsError(f"{path} is not a weights file that torch reads with weights_only: {reason}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__}, but must hold a dict of tensors")
    return content, checksum


def _pixels(meta: dict[str, Any]) -> PixelSpec:
    found = meta.get("pixels")
    if not isinstance(found, dict) or {"order", "mean", "std"} - set(found):
        raise WeightsError("weights file lacks meta['pixels'] with order, mean and std; pre-train anew, or add them")
    mean, std = tuple(map(float, found["mean"])), tuple(map(float, found["std"]))
    return PixelSpec(order=found["order"], mean=mean, std=std)  # type: ignore[arg-type]


def _refuse_misfits(path: Path, state: dict[str, Any], wanted: dict[str, Tensor]) -> None:
    optional = {key for key in {*state, *wanted} if key.endswith("num_batches_tracked")}
    problems = []
    missing = sorted(set(wanted) - set(state) - optional)
    foreign = sorted(set(state) - set(wanted) - optional)
    if missing:
        problems.append(f"{path} lacks {_listed(missing)}")
    if foreign:
        problems.append(f"{path} has {_listed(foreign)}, which the backbone does not")
    for key in sorted(set(state) & set(wanted)):
        if state[key].shape != wanted[key].shape:
            ours, theirs = tuple(wanted[key].shape), tuple(state[key].shape)
            problems.append(f"{path}: {key} has shape {theirs}, but the backbone's is {ours}")
    if not problems:
        return
    if any(key.endswith("running_mean") for key in foreign):
        problems.append("it holds batch-norm statistics: they fit norm sync_bn, bn and frozen_bn, not gn or none")
    elif any(key.endswith("running_mean") for key in missing):
        problems.append("it holds no batch-norm statistics: it fits norm gn (or none), not sync_bn, bn or frozen_bn")
    raise WeightsError(problems)


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - MAX_KEYS_SHOWN} more" if len(keys) > MAX_KEYS_SHOWN else ""
    return ", ".join(keys[:MAX_KEYS_SHOWN]) + more


def _convert_pixels(state: dict[str, Any], source: PixelSpec, wanted: PixelSpec) -> list[str]:
    """Change the first convolution so that it does to ``wanted`` pixels what it did to ``source`` pixels."""
    done = []
    key = next(name for name, value in state.items() if value.ndim == 4 and value.shape[1] == 3)
    weight = state[key].clone()
    mean, std = torch.tensor(source.mean), torch.tensor(source.std)
    if source.order != wanted.order:
        weight, mean, std = weight.flip(1), mean.flip(0), std.flip(0)
        done.append(f"channels of {key} turned from {source.order} to {wanted.order}")
    wanted_std = torch.tensor(wanted.std)
    if not torch.allclose(std, wanted_std):
        weight = weight * (wanted_std / std)[:, None, None]
        done.append(f"{key} scaled from pixel std {source.std} to {wanted.std}")
    offset = (torch.tensor(wanted.mean) - mean).abs().max()
    if offset > 0:
        done.append(f"pixel means differ by up to {float(offset):.2f} of 255; nothing changed for it")
    state[key] = weight
    return done
