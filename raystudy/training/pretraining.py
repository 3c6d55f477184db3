"""Pre-training: the detector's own backbone as a classifier, with any norm, to make the weights a trial starts from.

A generator yields rows like the detector's loop. It may be cut off anywhere: given the same folder again it goes on
from its last checkpoint, to the same weights bit for bit. Inside a process group its workers share every batch.
"""

import dataclasses
import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

from raystudy import atomic
from raystudy.data.ahead import ahead
from raystudy.errors import DataError, DivergedError, SpecError
from raystudy.provenance import WeightsProvenance
from raystudy.spec.identity import to_dict
from raystudy.spec.pretraining import NOMINAL_PIXELS, recipe_problems
from raystudy.spec.schedule import warmup_factor_at
from raystudy.spec.trial import PretrainSpec
from raystudy.training import collectives
from raystudy.training.classifier import PretrainState, build_pretrain_state, to_bytes
from raystudy.training.optimizer import set_lr
from raystudy.training.pretraining_pictures import Pictures, open_pictures, picture_problems

WEIGHTS_FILE = "weights.pt"
PROVENANCE_FILE = "provenance.json"
CHECKPOINT_FILE = "checkpoint.pt"
ROW_INTERVAL = 100
"""Iterations between two rows. Each is a checkpoint as well."""

MIN_ROWS, MAX_ROWS = 10, 500
"""Short recipes have rows more often, so that little is lost when one is cut off, long ones less often."""

FIRST_WARMUP_FACTOR = 0.1
"""Share of the learning rate that warm-up begins with."""

DROP_FACTOR = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainRow:
    """Where pre-training stands after ``iteration`` iterations."""

    iteration: int
    lr: float
    loss: float
    """Mean cross-entropy since the last row, over all workers."""


def pretrain(
    spec: PretrainSpec,
    destination: Path,
    progress: Callable[[PretrainRow], None] | None = None,
    device: torch.device | None = None,
    loader_processes: int = 0,
) -> Path:
    """Train by ``spec`` and write ``weights.pt`` and ``provenance.json`` into ``destination``.

    Weights that are there already are left alone; a checkpoint that is there is gone on from. In a process group every
    worker calls this, with a destination that all of them see.

    Args:
        spec: the recipe.
        destination: folder, made when missing.
        progress: is told every row, on every worker.
        device: where this worker trains; by default the CPU.
        loader_processes: processes of this worker that decode ahead; decides no result.

    Returns:
        The weights file, which ``models.initialization.load_backbone_weights`` reads.

    Raises:
        SpecError: a recipe that cannot be trained, all problems at once.
        DataError: pictures that cannot be used.
        DivergedError: the loss is not finite.
    """
    weights, checkpoint = destination / WEIGHTS_FILE, destination / CHECKPOINT_FILE
    if _agreed(weights.is_file() and (destination / PROVENANCE_FILE).is_file()):
        return weights
    if problems := recipe_problems(spec) + _group_problems(spec):
        raise SpecError(problems)
    is_first = collectives.rank() == 0
    # One worker looks, so that all stop together: a worker that stopped alone would leave the others waiting.
    if unusable := collectives.broadcast_object(picture_problems(spec) if is_first else None):
        raise DataError(unusable)
    destination.mkdir(parents=True, exist_ok=True)
    pictures = open_pictures(spec, collectives.rank(), collectives.world_size())
    state = build_pretrain_state(spec, pictures.num_classes, device or torch.device("cpu"))
    if _agreed(checkpoint.is_file()):
        state.load(checkpoint)
    for row in pretrain_rows(state, pictures, spec, loader_processes):
        if is_first:
            state.save(checkpoint)
        if progress is not None:
            progress(row)
    accuracy = top1(state, pictures, loader_processes)
    if is_first:
        _write(state, spec, pictures, accuracy, destination)
        checkpoint.unlink(missing_ok=True)
    collectives.barrier()
    return weights


def pretrain_rows(
    state: PretrainState, pictures: Pictures, spec: PretrainSpec, loader_processes: int = 0
) -> Iterator[PretrainRow]:
    """Train from ``state.iteration`` to the end of the recipe, with a row at every checkpoint.

    Every worker yields the same rows.

    Raises:
        DivergedError: the loss since the last row is not finite, on every worker at once.
    """
    state.network.train()
    interval = row_interval(spec.iterations)
    losses = torch.zeros(2, dtype=torch.float64, device=state.device)  # their sum and number since the last row
    began = time.perf_counter()
    for images, labels in ahead(pictures.train_batch, range(state.iteration, spec.iterations), loader_processes):
        lr = pretrain_lr(spec, state.iteration)
        set_lr(state.optimizer, lr)
        with _autocast(spec, state.device):
            logits = state.parallel(images.to(state.device, non_blocking=True))
        target = labels.to(state.device, non_blocking=True)
        loss = functional.cross_entropy(logits.float(), target, label_smoothing=spec.label_smoothing)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        state.optimizer.step()
        state.iteration += 1
        losses += torch.stack([loss.detach().to(torch.float64), losses.new_ones(())])
        if state.iteration == spec.iterations or state.iteration % interval == 0:
            total, count = collectives.all_reduce_sum(losses).tolist()
            if not math.isfinite(total):
                raise DivergedError(
                    f"the loss of pre-training is {total / count} by iteration {state.iteration}; lower its base_lr"
                )
            now = time.perf_counter()
            state.wall_time_s, began = state.wall_time_s + now - began, now
            yield PretrainRow(iteration=state.iteration, lr=lr, loss=total / count)
            losses.zero_()


def row_interval(iterations: int) -> int:
    """Iterations from one row to the next, in a recipe of so many."""
    return max(1, min(ROW_INTERVAL, iterations // MIN_ROWS), iterations // MAX_ROWS)


def pretrain_lr(spec: PretrainSpec, iteration: int) -> float:
    """The rate of an iteration (from 0).

    Linear warm-up, then a tenth at each of ``lr_drops``; without them half a cosine down to 0 (Loshchilov and Hutter
    2017).
    """
    warmup = warmup_factor_at(iteration, spec.warmup_iterations, FIRST_WARMUP_FACTOR)
    if spec.lr_drops:
        fall = float(DROP_FACTOR ** sum(iteration >= drop for drop in spec.lr_drops))
    else:
        fall = 0.5 * (1 + math.cos(math.pi * iteration / spec.iterations))
    return spec.base_lr * warmup * fall


@torch.no_grad()
def top1(state: PretrainState, pictures: Pictures, loader_processes: int = 0) -> float:
    """Share of held-out pictures whose class is the network's first choice; workers share them."""
    network, device = state.network, state.device
    # Each worker's batch norms have seen its own share: those of rank 0 are the ones that are kept.
    collectives.broadcast_from_first(list(network.buffers()))
    was_training = network.training
    network.eval()
    counts = torch.zeros(2, dtype=torch.float64, device=device)
    mine = range(collectives.rank(), pictures.num_held_out_batches, collectives.world_size())
    for images, labels in ahead(pictures.held_out_batch, mine, loader_processes):
        right = network(images.to(device)).argmax(1) == labels.to(device)
        counts += torch.stack([right.sum(), right.new_tensor(len(labels), dtype=torch.int64)])
    network.train(was_training)
    right_sum, number = collectives.all_reduce_sum(counts).tolist()
    return float(right_sum / number)


def _write(state: PretrainState, spec: PretrainSpec, pictures: Pictures, accuracy: float, destination: Path) -> None:
    """The weights, and where they come from: the numbers that exposure and cost add for ``pretrained``."""
    recipe = to_dict(dataclasses.replace(spec, data_path=""))  # where pictures lie is no part of the weights
    meta = {"pixels": to_dict(spec.pixels), "weights_id": spec.weights_id, "top1": accuracy, "spec": recipe}
    backbone = {name: value.cpu() for name, value in state.network.backbone.state_dict().items()}
    content = to_bytes({"backbone": backbone, "meta": meta})
    atomic.write_bytes(destination / WEIGHTS_FILE, content)
    images = spec.iterations * spec.batch_size
    made = WeightsProvenance(
        source="raystudy pretrain",
        data=spec.data,
        data_checksum=spec.data_checksum,
        distinct_images=pictures.num_train,
        num_classes=pictures.num_classes,
        passes=images / pictures.num_train,
        iterations=spec.iterations,
        batch_size=spec.batch_size,
        top1=accuracy,
        wall_time_s=state.wall_time_s,
        workers=spec.workers,
        sha256=hashlib.sha256(content).hexdigest(),
        weights_id=spec.weights_id,
        recipe=recipe,
        images_seen=images,
        pixels_nominal_seen=images * NOMINAL_PIXELS,
        pixels_measured_seen=images * spec.image_size**2,
    )
    atomic.write_json(destination / PROVENANCE_FILE, made.to_dict())


def _group_problems(spec: PretrainSpec) -> list[str]:
    if spec.workers == collectives.world_size():
        return []
    return [
        f"the recipe is one of {spec.workers} workers, but {collectives.world_size()} take part; start as many, or "
        "make a recipe with other workers (which makes other weights)"
    ]


def _agreed(mine: bool) -> bool:
    """What rank 0 sees: file systems may show others an older state."""
    return collectives.broadcast_object(mine)


def _autocast(spec: PretrainSpec, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=spec.precision == "bf16")
