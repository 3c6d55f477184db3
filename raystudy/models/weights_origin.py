"""What a weights file that a user brings tells of where it comes from."""

import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import torch

from raystudy.errors import SpecError
from raystudy.models.torchvision_file import file_sha256, torchvision_provenance
from raystudy.provenance import WeightsProvenance
from raystudy.spec.identity import from_dict
from raystudy.spec.pretraining import NOMINAL_PIXELS
from raystudy.spec.trial import PretrainSpec
from raystudy.store import PROVENANCE_FILE


def origin(path: Path) -> WeightsProvenance:
    """Everything that is known of a file; what it has seen stays None where nothing tells it."""
    sha256 = file_sha256(path)
    if path.suffix == ".pkl":
        return WeightsProvenance(source="Detectron", file=path.name, sha256=sha256)
    published = torchvision_provenance(path, sha256)
    if published is not None:
        return published
    return (
        _beside(path, sha256) or _own(path, sha256) or WeightsProvenance(source="file", file=path.name, sha256=sha256)
    )


def _beside(path: Path, sha256: str) -> WeightsProvenance | None:
    """Of a file that lies where a storage keeps it."""
    try:
        found = WeightsProvenance.from_dict(json.loads((path.parent / PROVENANCE_FILE).read_bytes()))
    except (OSError, ValueError, AttributeError):
        return None
    return dataclasses.replace(found, file=path.name) if found.sha256 == sha256 else None


def _own(path: Path, sha256: str) -> WeightsProvenance | None:
    """Of a file that `raystudy pretrain` made, by the recipe inside."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        meta: dict[str, Any] = content["meta"]
        recipe = from_dict(PretrainSpec, meta["spec"])
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError, TypeError, SpecError):
        return None
    images = recipe.iterations * recipe.batch_size
    return WeightsProvenance(
        source="raystudy pretrain",
        file=path.name,
        data=recipe.data,
        data_checksum=recipe.data_checksum,
        images_seen=images,
        pixels_nominal_seen=images * NOMINAL_PIXELS,
        pixels_measured_seen=images * recipe.image_size**2,
        iterations=recipe.iterations,
        batch_size=recipe.batch_size,
        top1=meta.get("top1"),
        workers=recipe.workers,
        sha256=sha256,
        weights_id=str(meta.get("weights_id", "")),
        recipe=meta["spec"],
    )
