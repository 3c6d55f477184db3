"""Losses on the validation set: what over-fitting is read from, next to the training losses."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from raystudy.data.batch import Batch
from raystudy.records import NAN, Losses

NAMES = tuple(field.name for field in dataclasses.fields(Losses) if field.name != "loss")


@torch.no_grad()
def validation_losses(
    model: nn.Module,
    loader: Iterable[Batch],
    device: torch.device,
    seed: int,
    visit: Callable[[Batch], None] = lambda batch: None,
) -> dict[str, float]:
    """Mean losses over the validation pictures that have instances, under the names of ``records.Losses``.

    The model samples anchors and RoIs as in training, from a generator that is seeded by (seed, picture) for every
    batch: the result depends neither on when it is computed, nor on the rank that computes it. Norms use their running
    statistics. The random state and the mode of the model are as before afterwards.

    Args:
        model: gives the losses of a batch when it is called, each a mean over the batch's pictures.
        loader: this rank's share of the pictures.
        device: where the model lives.
        seed: of the sampling.
        visit: is given every batch after its losses, on the device and with the model in evaluation mode, so that one
            pass over the pictures serves detections as well.

    Returns:
        Equal on every rank; ``loss`` is the sum; nan for losses that the model does not have.
    """
    totals = torch.zeros(len(NAMES), 2, dtype=torch.float64, device=device)
    with undisturbed(model, device):
        for batch in (loaded.to(device) for loaded in loader):
            kept = _with_instances(batch)
            if kept is not None:
                torch.manual_seed(_batch_seed(seed, kept.image_ids))
                _add(totals, model(kept), weight=len(kept.sizes))
            visit(batch)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(totals)
    means = {name: total / count if count else NAN for name, (total, count) in zip(NAMES, totals.tolist(), strict=True)}
    measured = [value for value, (_, count) in zip(means.values(), totals.tolist(), strict=True) if count]
    return {"loss": sum(measured) if measured else NAN, **means}


def _add(totals: Tensor, losses: dict[str, Tensor], weight: int) -> None:
    for name, value in losses.items():
        totals[NAMES.index(name)] += torch.stack([value.to(torch.float64) * weight, value.new_full((), weight)])


def _batch_seed(seed: int, image_ids: list[int]) -> int:
    sequence = np.random.SeedSequence((seed, *(abs(image_id) for image_id in image_ids)))
    return int(sequence.generate_state(1, np.uint64)[0]) >> 1


def _with_instances(batch: Batch) -> Batch | None:
    """The batch without pictures that have no instance: training does not see such pictures either."""
    kept = [index for index, target in enumerate(batch.targets) if len(target.boxes)]
    if len(kept) == len(batch.targets):
        return batch
    if not kept:
        return None
    return Batch(
        images=batch.images[kept],
        sizes=[batch.sizes[index] for index in kept],
        targets=[batch.targets[index] for index in kept],
        image_ids=[batch.image_ids[index] for index in kept],
        original_sizes=[batch.original_sizes[index] for index in kept],
    )


@contextmanager
def undisturbed(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode, and every module's own mode and the random state restored afterwards."""
    modes: list[tuple[nn.Module, bool]] = [(module, module.training) for module in model.modules()]
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        model.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
