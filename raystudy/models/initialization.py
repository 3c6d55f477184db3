"""What a network starts from: the recipe's random numbers, or a weights file for its backbone.

Random numbers (Detectron's, paper.md section 6): He ("MSRA", fan out) for backbone, box, mask and keypoint
convolutions, the deconvolutions and the mask predictor; Xavier (fan in) for FPN and fully connected layers; Gaussians
for RPN (0.01) and the box predictors (0.01, 0.001). Norms start as the identity, the last one of a block too. Biases
are 0.
"""

import re
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from raystudy.models.backbones import Backbone
from raystudy.models.detector import Detector
from raystudy.models.normalization import FrozenBatchNorm2d
from raystudy.models.weights import WeightsReport, load_backbone_weights
from raystudy.spec.identity import digest

__all__ = ["WeightsReport", "initialize", "initialize_backbone", "load_backbone_weights"]

Fill = Callable[[Tensor, torch.Generator], Tensor]


def msra(weight: Tensor, generator: torch.Generator) -> Tensor:
    """He et al. 2015, fan out, for ReLU: Caffe2's MSRAFill."""
    return nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu", generator=generator)


def xavier(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform within sqrt(3 / fan in): Caffe2's XavierFill."""
    return nn.init.kaiming_uniform_(weight, a=1, generator=generator)


def gaussian(std: float) -> Fill:
    """Normal with mean 0."""
    return lambda weight, generator: nn.init.normal_(weight, std=std, generator=generator)


RECIPE: tuple[tuple[str, Fill], ...] = (
    ("backbone.", msra),
    ("fpn.", xavier),
    ("rpn.", gaussian(0.01)),
    ("box_head.convs.", msra),
    ("box_head.fcs.", xavier),
    ("box_head.category.", gaussian(0.01)),
    ("box_head.box.", gaussian(0.001)),
    ("mask_head.", msra),
    ("keypoint_head.", msra),
)
"""The first entry whose prefix begins the layer's name decides."""

STAGE = re.compile(r"^box_head\.stages\.\d+\.")
"""The stages of a cascade are initialised as a box head is, each with numbers of its own."""


def initialize(detector: Detector, seed: int) -> None:
    """Fill every parameter and norm statistic from ``seed`` alone.

    Each weight draws from a generator seeded by ``seed`` and its own name, so that it does not depend on what else the
    network has, on the device, or on which other weights a file overwrites later.

    Raises:
        KeyError: a parameter for which ``RECIPE`` has no entry.
    """
    for name, module in _layers(detector):
        part = STAGE.sub("box_head.", f"{name}.")
        fill = next((fill for prefix, fill in RECIPE if part.startswith(prefix)), None)
        if fill is None:
            raise KeyError(f"RECIPE of raystudy.models.initialization has no entry for {name}")
        _fill(module, fill, name, seed)


def initialize_backbone(backbone: Backbone, seed: int) -> None:
    """Fill a backbone that stands alone with the same numbers that it would get inside a detector."""
    for name, module in _layers(backbone):
        _fill(module, msra, f"backbone.{name}", seed)


def _layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in network.named_modules():
        if any(True for _ in module.parameters(recurse=False)) or isinstance(module, FrozenBatchNorm2d):
            yield name, module


@torch.no_grad()
def _fill(module: nn.Module, fill: Fill, name: str, seed: int) -> None:
    values = dict([*module.named_parameters(), *module.named_buffers()])
    if isinstance(module, nn.GroupNorm | nn.BatchNorm2d | FrozenBatchNorm2d):
        for key, value in values.items():
            value.fill_(1 if key in ("weight", "running_var") else 0)
        return
    generator = torch.Generator().manual_seed(int(digest(["weight", seed, name], 15), 16))
    values["weight"].copy_(fill(torch.empty(values["weight"].shape), generator))
    if "bias" in values:
        values["bias"].fill_(0.0)
