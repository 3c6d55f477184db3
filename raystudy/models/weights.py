"""Weights files for a backbone: raystudy's own, torchvision's, Detectron's. A file that does not fit is refused.

raystudy's file is ``torch.save({"backbone": state_dict, "meta": {...}})``; ``meta["pixels"]`` holds ``order``, ``mean``
and ``std`` (of 0-255 pixels) that the weights were trained with. torchvision's are RGB with ImageNet's statistics,
Detectron's (``.pkl``) BGR with a mean only. Strides are not in a file: Detectron's BN weights of MSRA (``R-50.pkl``)
were trained with the stride in the first 1x1 of a block, our networks, as its GN ones, have it in the 3x3.
"""

import hashlib
import pickle
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from raystudy.errors import WeightsError
from raystudy.models.backbones import Backbone
from raystudy.models.box_head import BoxHead
from raystudy.models.detector import Detector
from raystudy.models.detectron_file import read_detectron
from raystudy.models.normalization import FrozenBatchNorm2d
from raystudy.spec.model import PixelSpec

TORCHVISION_PIXELS = PixelSpec(order="rgb", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
"""0.485, 0.456, 0.406 and 0.229, 0.224, 0.225 times 255."""

DETECTRON_PIXELS = PixelSpec()
"""BGR, 0 to 255, the mean subtracted and nothing divided."""

MAX_KEYS_SHOWN = 6


@dataclass(frozen=True, slots=True)
class WeightsReport:
    """What was loaded, for the trial's provenance."""

    path: str
    sha256: str
    source: str
    """``raystudy``, ``torchvision`` or ``detectron``."""

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
    file = _detectron(path) if path.suffix == ".pkl" else _torch(path)
    state = file.state
    conversions = _convert_norms(state, backbone)
    fcs = _take_fcs(state, detector)
    foreign = _unused(state, detector)
    state = {key: value for key, value in state.items() if key not in foreign}
    _refuse_misfits(path, state, backbone.state_dict())
    conversions += _convert_pixels(state, file.pixels, pixels)
    backbone.load_state_dict(state, strict=False)
    for layer, values in fcs:
        layer.load_state_dict(values)
    conversions += [f"fc6 and fc7 loaded into the first {len(fcs)} layers of the box head"] if fcs else []
    ignored = tuple(sorted({*file.ignored, *foreign}))
    number = len(state) + sum(len(values) for _, values in fcs)
    return WeightsReport(str(path), file.checksum, file.source, number, ignored, tuple(conversions), file.meta)


@dataclass(slots=True)
class _File:
    """What a file holds, under our names."""

    state: dict[str, Any]
    checksum: str
    source: str
    pixels: PixelSpec
    """That the weights were trained with."""

    ignored: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)


def _detectron(path: Path) -> _File:
    state, ignored = read_detectron(path)
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    return _File(dict(state), checksum, "detectron", DETECTRON_PIXELS, ignored)


def _torch(path: Path) -> _File:
    content, checksum = _read(path)
    if "backbone" not in content:
        return _File(dict(content), checksum, "torchvision", TORCHVISION_PIXELS)
    meta = dict(content.get("meta", {}))
    return _File(dict(content["backbone"]), checksum, "raystudy", _pixels(meta), meta=meta)


def _convert_norms(state: dict[str, Any], backbone: Backbone) -> list[str]:
    """Two habits of files: statistics folded into the affine, and convolutions with a bias before BN."""
    wanted, done = backbone.state_dict(), []
    has_statistics = any(key.endswith("running_mean") for key in state)
    frozen = {name: m for name, m in backbone.named_modules() if isinstance(m, FrozenBatchNorm2d)}
    if frozen and not has_statistics and all(f"{name}.weight" in state for name in frozen):
        for name, module in frozen.items():
            state[f"{name}.running_mean"] = torch.zeros_like(module.running_mean)
            state[f"{name}.running_var"] = torch.full_like(module.running_var, 1 - module.eps)
        done.append("the norms hold an affine only: statistics set to those that change nothing")
    biases = [key for key in state if key.endswith(".bias") and key not in wanted and key.startswith("features.")]
    for key in biases:
        number = int(key.split(".")[1])
        mean = f"features.{number + 1}.running_mean"
        if mean in state:
            state[mean] = state[mean] - state.pop(key)
    done += ["biases before BN taken into its means"] if biases else []
    return done


def _take_fcs(state: dict[str, Any], detector: Detector) -> list[tuple[nn.Module, dict[str, Tensor]]]:
    """VGG's fc6 and fc7, taken out of ``state``, with the layers of the box head that they fit."""
    head = detector.box_head
    layers: Iterable[nn.Module] = head.fcs if isinstance(head, BoxHead) and detector.fpn is None else []
    found: list[tuple[nn.Module, dict[str, Tensor]]] = []
    for layer, name in zip(layers, ("classifier.0", "classifier.3"), strict=False):
        own = {part: state.get(f"{name}.{part}") for part in ("weight", "bias")}
        shapes = {part: value.shape for part, value in layer.state_dict().items()}
        if {part: getattr(value, "shape", None) for part, value in own.items()} != shapes:
            break
        found.append((layer, {part: state.pop(f"{name}.{part}") for part in own}))
    return found


def _unused(state: dict[str, Any], detector: Detector) -> set[str]:
    """Keys of the classifier, and of the stage that a backbone without pyramid does not have."""
    has_stage = any(key.startswith("layer4.") for key in detector.backbone.state_dict())
    prefixes = ("fc.", "classifier.", "layer4.") if detector.fpn is None and not has_stage else ("fc.", "classifier.")
    return {key for key in state if key.startswith(prefixes)}


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
