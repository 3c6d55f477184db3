"""Sums, gathers and broadcasts over the workers of a trial. Without a process group they are no-ops.

The same code serves gloo (CPU tensors) and NCCL (tensors on the rank's own device).
"""

from collections.abc import Sequence
from typing import TypeVar, overload

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def is_distributed() -> bool:
    """Whether there is a process group of more than one worker."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def world_size() -> int:
    """Number of workers; 1 without a process group."""
    return dist.get_world_size() if is_distributed() else 1


def rank() -> int:
    """This worker's number, from 0."""
    return dist.get_rank() if is_distributed() else 0


@overload
def all_reduce_sum(values: Tensor) -> Tensor: ...
@overload
def all_reduce_sum(values: dict[str, float]) -> dict[str, float]: ...
def all_reduce_sum(values: Tensor | dict[str, float]) -> Tensor | dict[str, float]:
    """The sum over all workers, equal on each of them; ``values`` is left as it is.

    Args:
        values: a tensor of equal shape on every worker, or numbers under equal names (summed in float64).

    Raises:
        ValueError: workers have different names.
    """
    if not is_distributed():
        return values.clone() if isinstance(values, Tensor) else dict(values)
    if isinstance(values, Tensor):
        summed = values.to(_device()) if _needs_device(values) else values.clone()
        dist.all_reduce(summed)
        return summed.to(values.device)
    names = sorted(values)
    _require_equal_names(names)
    total = all_reduce_sum(torch.tensor([values[name] for name in names], dtype=torch.float64))
    by_name = dict(zip(names, total.tolist(), strict=True))
    return {name: by_name[name] for name in values}


def gather_objects(obj: T) -> list[T]:
    """Every worker's object, by rank, on rank 0; an empty list on the others. Objects are pickled."""
    if not is_distributed():
        return [obj]
    gathered: list[T | None] | None = [None] * world_size() if rank() == 0 else None
    dist.gather_object(obj, gathered)
    return gathered or []  # type: ignore[return-value]


def broadcast_object(obj: T | None) -> T:
    """Rank 0's object, on every worker. What the others pass is not looked at."""
    box = [obj]
    if not is_distributed():
        return box[0]  # type: ignore[return-value]
    dist.broadcast_object_list(box, src=0, device=_device())
    return box[0]  # type: ignore[return-value]


def broadcast_from_first(tensors: Sequence[Tensor]) -> None:
    """Overwrite every worker's tensors with rank 0's; they lie where the backend communicates."""
    if is_distributed():
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def barrier() -> None:
    """Wait for all workers."""
    if is_distributed():
        all_reduce_sum(torch.zeros(1))


def _device() -> torch.device:
    """Where this worker's communication takes its tensors."""
    if "nccl" in dist.get_backend():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def _needs_device(values: Tensor) -> bool:
    return values.device.type == "cpu" and _device().type != "cpu"


def _require_equal_names(names: list[str]) -> None:
    """A sum of different things would go unnoticed: compare fingerprints of the names first."""
    fingerprint = float(sum(position * byte for position, byte in enumerate("\n".join(names).encode(), 1)))
    low_high = torch.tensor([fingerprint, -fingerprint], dtype=torch.float64)
    if _needs_device(low_high):
        low_high = low_high.to(_device())
    dist.all_reduce(low_high, op=dist.ReduceOp.MAX)
    if float(low_high[0]) != -float(low_high[1]):
        raise ValueError(f"workers sum numbers of different names; rank {rank()} has {names}")
