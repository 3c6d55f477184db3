"""Pre-training: the detector's own backbone as a classifier, with any norm, to make the weights a trial starts from.

A generator yields rows like the detector's loop. It may be cut off anywhere: given the same folder again it goes on
from its last checkpoint, to the same weights bit for bit.
"""

import hashlib
import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from raystudy import atomic
from raystudy.errors import DivergedError, SpecError
from raystudy.models.backbones import build_backbone
from raystudy.models.initialization import initialize_backbone
from raystudy.models.pixels import PixelNormalizer
from raystudy.spec.identity import to_dict
from raystudy.spec.model import ModelSpec
from raystudy.spec.schedule import warmup_factor_at
from raystudy.spec.trial import OptimizerSpec, PretrainSpec
from raystudy.training.optimizer import build_optimizer, set_lr
from raystudy.training.pretraining_pictures import Pictures, TextureCrops

WEIGHTS_FILE = "weights.pt"
PROVENANCE_FILE = "provenance.json"
CHECKPOINT_FILE = "checkpoint.pt"
CHECKPOINT_INTERVAL = 100
"""Iterations between two checkpoints, and between two rows."""

FIRST_WARMUP_FACTOR = 0.1
"""Share of the learning rate that warm-up begins with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainRow:
    """Where pre-training stands after ``iteration`` iterations."""

    iteration: int
    lr: float
    loss: float
    """Mean cross-entropy since the last row."""


class Classifier(nn.Module):
    """Backbone, global average pool and one fully connected layer."""

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
    """What a checkpoint carries."""

    network: Classifier
    optimizer: torch.optim.Optimizer
    iteration: int = 0
    loss_sum: float = 0.0
    """Of the iterations since the last row."""

    def save(self, path: Path) -> None:
        """Replace the checkpoint in one motion."""
        content = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "iteration": self.iteration,
        }
        atomic.write_bytes(path, _to_bytes(content))

    def load(self, path: Path) -> None:
        """Go on from a checkpoint, which lies on a row."""
        content: dict[str, Any] = torch.load(
            path, weights_only=True, map_location=next(self.network.parameters()).device
        )
        self.network.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.iteration, self.loss_sum = int(content["iteration"]), 0.0


def pretrain(
    spec: PretrainSpec,
    destination: Path,
    progress: Callable[[PretrainRow], None] | None = None,
    device: torch.device | None = None,
) -> Path:
    """Train by ``spec`` and write ``weights.pt`` and ``provenance.json`` into ``destination``.

    Weights that are there already are left alone; a checkpoint that is there is gone on from.

    Args:
        spec: the recipe.
        destination: folder, made when missing.
        progress: is told every row.
        device: where to train; by default the CPU.

    Returns:
        The weights file, which ``models.initialization.load_backbone_weights`` reads.

    Raises:
        SpecError: a recipe that cannot be trained, all problems at once.
        DivergedError: the loss is not finite.
    """
    weights, checkpoint = destination / WEIGHTS_FILE, destination / CHECKPOINT_FILE
    if weights.is_file() and (destination / PROVENANCE_FILE).is_file():
        return weights
    if problems := _problems(spec):
        raise SpecError(problems)
    destination.mkdir(parents=True, exist_ok=True)
    pictures: Pictures = TextureCrops(spec)
    state = build_pretrain_state(spec, pictures.num_classes, device or torch.device("cpu"))
    if checkpoint.is_file():
        state.load(checkpoint)
    for row in pretrain_rows(state, pictures, spec):
        state.save(checkpoint)
        if progress is not None:
            progress(row)
    _write(state.network, spec, pictures, destination)
    checkpoint.unlink(missing_ok=True)
    return weights


def build_pretrain_state(spec: PretrainSpec, num_classes: int, device: torch.device) -> PretrainState:
    """The state at iteration 0."""
    network = Classifier(spec, num_classes).to(device)
    # Classification has no reason for Detectron's double rate of biases.
    optimizer = OptimizerSpec(momentum=spec.momentum, weight_decay=spec.weight_decay, bias_lr_factor=1.0)
    return PretrainState(network, build_optimizer(network, optimizer))


def pretrain_rows(state: PretrainState, pictures: Pictures, spec: PretrainSpec) -> Iterator[PretrainRow]:
    """Train from ``state.iteration`` to the end of the recipe, with a row every ``CHECKPOINT_INTERVAL`` iterations."""
    device = next(state.network.parameters()).device
    state.network.train()
    last_row = state.iteration
    while state.iteration < spec.iterations:
        lr = pretrain_lr(spec, state.iteration)
        set_lr(state.optimizer, lr)
        images, labels = pictures.train_batch(state.iteration)
        logits = state.network(images.to(device))
        loss = functional.cross_entropy(logits, labels.to(device), label_smoothing=spec.label_smoothing)
        if not math.isfinite(value := loss.item()):
            raise DivergedError(f"the loss of pre-training iteration {state.iteration} is {value}; lower its base_lr")
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        state.optimizer.step()
        state.iteration += 1
        state.loss_sum += value
        if state.iteration == spec.iterations or state.iteration % CHECKPOINT_INTERVAL == 0:
            yield PretrainRow(iteration=state.iteration, lr=lr, loss=state.loss_sum / (state.iteration - last_row))
            last_row, state.loss_sum = state.iteration, 0.0


def pretrain_lr(spec: PretrainSpec, iteration: int) -> float:
    """The rate of an iteration (from 0): linear warm-up, then half a cosine down to 0 (Loshchilov and Hutter 2017)."""
    warmup = warmup_factor_at(iteration, spec.warmup_iterations, FIRST_WARMUP_FACTOR)
    return spec.base_lr * warmup * 0.5 * (1 + math.cos(math.pi * iteration / spec.iterations))


@torch.no_grad()
def top1(network: Classifier, pictures: Pictures) -> float:
    """Share of held-out pictures whose class is the network's first choice."""
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    right = [
        (network(images.to(device)).argmax(1).cpu() == labels).to(torch.float64)
        for images, labels in pictures.held_out()
    ]
    network.train(was_training)
    return float(torch.cat(right).mean())


def _write(network: Classifier, spec: PretrainSpec, pictures: Pictures, destination: Path) -> None:
    """The weights, and where they come from: the numbers that exposure and cost add for ``pretrained``."""
    accuracy = top1(network, pictures)
    meta = {"pixels": to_dict(spec.pixels), "weights_id": spec.weights_id, "top1": accuracy, "spec": to_dict(spec)}
    backbone = {name: value.cpu() for name, value in network.backbone.state_dict().items()}
    content = _to_bytes({"backbone": backbone, "meta": meta})
    atomic.write_bytes(destination / WEIGHTS_FILE, content)
    images = spec.iterations * spec.batch_size
    provenance = {
        "source": "raystudy pretraining",
        "data": spec.data,
        "distinct_images": pictures.num_train,
        "images": images,
        "instances": images,
        "pixels": images * spec.image_size**2,
        "iterations": spec.iterations,
        "passes": images / pictures.num_train,
        "top1": accuracy,
        "sha256": hashlib.sha256(content).hexdigest(),
        "weights_id": spec.weights_id,
        "spec": to_dict(spec),
    }
    atomic.write_json(destination / PROVENANCE_FILE, provenance)


def _problems(spec: PretrainSpec) -> list[str]:
    found = []
    if spec.data != "textures":
        found.append(f"pre-training data is {spec.data!r}, but only textures can be trained on so far")
    if spec.norm == "frozen_bn":
        found.append("pre-training cannot freeze its norm; use bn, whose weights load into frozen_bn")
    for field in ("iterations", "batch_size", "image_size", "num_pictures", "num_held_out"):
        if getattr(spec, field) < 1:
            found.append(f"pre-training {field} is {getattr(spec, field)}, but must be at least 1")
    if spec.num_pictures < spec.batch_size:
        found.append(f"num_pictures is {spec.num_pictures}, but must hold a batch of {spec.batch_size}")
    if spec.base_lr <= 0:
        found.append(f"pre-training base_lr is {spec.base_lr:g}, but must be above 0")
    return found


def _to_bytes(content: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()
