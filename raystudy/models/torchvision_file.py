"""torchvision's published ImageNet weights: where they lie, how they come here, what is documented of them."""

import hashlib
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlparse

import torch
import torchvision

from raystudy.errors import WeightsError
from raystudy.provenance import WeightsProvenance
from raystudy.spec.pretraining import IMAGENET_IMAGES, NOMINAL_PIXELS

SCHEME = "torchvision:"
"""What stands in place of a file's path: ``torchvision:resnet50/IMAGENET1K_V1``."""

DEFAULT_NAME = "IMAGENET1K_V1"

PUBLISHED = {"resnet50": "ResNet50_Weights", "resnet101": "ResNet101_Weights", "vgg16": "VGG16_Weights"}
"""Our backbones that torchvision publishes weights of."""

DOCUMENTED = {"IMAGENET1K_V1": (90, 224), "IMAGENET1K_V2": (600, 176)}
"""Name -> epochs of ImageNet-1k, and side of the training crops: torchvision's references/classification/README.md.

V1 was made with its defaults, V2 with "--epochs 600 --train-crop-size 176"; repeated augmentation leaves the number of
pictures of an epoch as it is.
"""


def torchvision_address(backbone: str, name: str = "") -> str:
    """What to write as the weights file of ``backbone``.

    Raises:
        WeightsError: torchvision publishes no such weights.
    """
    _entry(backbone, name or DEFAULT_NAME)
    return f"{SCHEME}{backbone}/{name or DEFAULT_NAME}"


def torchvision_weights_id(address: str) -> str:
    """The id that the file itself would get: its name and the first 8 digits of its SHA-256, which the name tells."""
    stem = _cached(address).stem
    return f"{stem}-{stem.rsplit('-', 1)[1]}"


def local_file(text: str) -> Path:
    """The weights file that ``text`` names: its path, or torchvision's file, downloaded where it is not here yet.

    Raises:
        WeightsError: there is no such file and it cannot be had, with what to do.
    """
    if not text.startswith(SCHEME):
        if not Path(text).is_file():
            raise WeightsError(f"the weights file {text} does not exist; check --weights")
        return Path(text)
    path, url = _cached(text), _entry(*_parts(text)).url
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rsplit("-", 1)[1], progress=False)
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"torchvision's {text.removeprefix(SCHEME)} could not be downloaded ({error}): fetch {url} where there is "
            f"a network, and put it at {path}, or give it with --weights FILE"
        ) from error
    return path


def torchvision_provenance(path: Path, sha256: str) -> WeightsProvenance | None:
    """What is documented of a file, recognised by its checksum; None for a file that torchvision does not publish."""
    for backbone, family in PUBLISHED.items():
        for entry in torchvision.models.get_model_weights(backbone):
            if not sha256.startswith(Path(urlparse(entry.url).path).stem.rsplit("-", 1)[1]):
                continue
            top1 = float(entry.meta["_metrics"]["ImageNet-1K"]["acc@1"]) / 100
            return WeightsProvenance(
                source=f"torchvision {family}.{entry.name}",
                file=path.name,
                reference=str(entry.meta["recipe"]),
                data="ImageNet-1k",
                sha256=sha256,
                distinct_images=IMAGENET_IMAGES,
                num_classes=1000,
                top1=top1 if top1 == top1 else None,
                **_seen(entry.name),
            )
    return None


def file_sha256(path: Path) -> str:
    """Of the whole file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _seen(name: str) -> dict[str, Any]:
    if name not in DOCUMENTED:
        return {}
    epochs, side = DOCUMENTED[name]
    images = epochs * IMAGENET_IMAGES
    return {
        "passes": float(epochs),
        "images_seen": images,
        "pixels_nominal_seen": images * NOMINAL_PIXELS,
        "pixels_measured_seen": images * side * side,
    }


def _entry(backbone: str, name: str) -> Any:
    if backbone not in PUBLISHED:
        raise WeightsError(
            f"torchvision publishes no weights of {backbone}, only of {', '.join(PUBLISHED)}; give a file with "
            "--weights FILE, or make them with `raystudy pretrain`"
        )
    names = {entry.name: entry for entry in torchvision.models.get_model_weights(backbone)}
    if name not in names:
        raise WeightsError(f"torchvision's weights of {backbone} are {', '.join(names)}, but not {name}")
    return names[name]


def _parts(address: str) -> tuple[str, str]:
    backbone, _, name = address.removeprefix(SCHEME).partition("/")
    return backbone, name or DEFAULT_NAME


def _cached(address: str) -> Path:
    """Where torch keeps it: ``$TORCH_HOME/hub/checkpoints``."""
    url = _entry(*_parts(address)).url
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
