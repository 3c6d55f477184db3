"""The network that pre-training trains, and all that changes while it does."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from raystudy import atomic
from raystudy.models.backbones import build_backbone
from raystudy.models.initialization import initialize_backbone
from raystudy.models.pixels import PixelNormalizer
from raystudy.spec.model import ModelSpec
from raystudy.spec.trial import OptimizerSpec, PretrainSpec
from raystudy.training import collectives
from raystudy.training.optimizer import build_optimizer


class Classifier(nn.Module):
    """The detector's backbone, global average pool and one fully connected layer."""

    def __init__(self, spec: PretrainSpec, num_classes: int) -> None:
        super().__init__()
        model = ModelSpec(
            backbone=spec.backbone,  # type: ignore[arg-type]
            norm=spec.norm,  # type: ignore[arg-type]
            norm_groups=spec.norm_groups,
            norm_group_channels=spec.norm_group_channels,
        )
        self.pixels = PixelNormalizer(spec.pixels)
        self.backbone = build_backbone(model)
        self.fc = nn.Linear(self.backbone.out_channels[-1], num_classes)
        initialize_backbone(self.backbone, spec.seed)
        if spec.zero_last_gamma:
            _zero_last_gammas(self.backbone)
        nn.init.normal_(self.fc.weight, std=0.01, generator=torch.Generator().manual_seed(spec.seed))
        nn.init.zeros_(self.fc.bias)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] RGB to logits [B, classes]."""
        sizes = [(int(images.shape[2]), int(images.shape[3]))] * len(images)
        deepest: Tensor = self.backbone(self.pixels(images, sizes))[-1]
        logits: Tensor = self.fc(deepest.mean((2, 3)))
        return logits


@dataclass
class PretrainState:
    """What a checkpoint carries, and the network as it is called for training."""

    network: Classifier
    parallel: nn.Module
    """The network itself, or the network wrapped for data-parallel training."""

    optimizer: torch.optim.Optimizer
    iteration: int = 0
    wall_time_s: float = 0.0
    """Spent so far, earlier attempts included, up to the last row."""

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return next(self.network.parameters()).device

    def save(self, path: Path) -> None:
        """Replace the checkpoint in one motion. It lies on a row."""
        content = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "iteration": self.iteration,
            "wall_time_s": self.wall_time_s,
        }
        atomic.write_bytes(path, to_bytes(content))

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        content: dict[str, Any] = torch.load(path, weights_only=True, map_location=self.device)
        self.network.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.iteration, self.wall_time_s = int(content["iteration"]), float(content["wall_time_s"])


def build_pretrain_state(spec: PretrainSpec, num_classes: int, device: torch.device) -> PretrainState:
    """The state at iteration 0, equal on every worker."""
    network = Classifier(spec, num_classes).to(device)
    parallel = DistributedDataParallel(network) if collectives.is_distributed() else network
    if spec.optimizer == "adamw":
        groups = [{"params": list(network.parameters()), "lr_factor": 1.0}]
        adamw = torch.optim.AdamW(groups, weight_decay=spec.weight_decay, fused=True)
        return PretrainState(network, parallel, adamw)
    # Classification has no reason for Detectron's double rate of biases.
    optimizer = OptimizerSpec(
        momentum=spec.momentum,
        weight_decay=spec.weight_decay,
        norm_weight_decay=spec.norm_weight_decay,
        bias_weight_decay=spec.bias_weight_decay,
        bias_lr_factor=1.0,
    )
    return PretrainState(network, parallel, build_optimizer(network, optimizer))


def to_bytes(content: dict[str, Any]) -> bytes:
    """As ``torch.save`` writes it."""
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def _zero_last_gammas(backbone: nn.Module) -> None:
    """Of every residual block: the third norm of a bottleneck, the second of a basic block."""
    for block in backbone.modules():
        gamma = getattr(getattr(block, "bn3", getattr(block, "bn2", None)), "weight", None)
        if isinstance(gamma, Tensor):
            nn.init.zeros_(gamma)
