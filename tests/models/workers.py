"""Two processes that share a gloo group, for the tests."""

import multiprocessing
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

NUM_WORKERS = 2


def on_two_workers(function: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    """What ``function(rank)`` returns on each of two workers; it is a module-level function.

    The processes are forked from a server that has torch loaded already, so that only the first call is slow.
    """
    multiprocessing.set_forkserver_preload(["torch", "torchvision", function.__module__])
    with tempfile.TemporaryDirectory() as folder:
        start_processes(_work, args=(function, folder), nprocs=NUM_WORKERS, start_method="forkserver")  # type: ignore
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(NUM_WORKERS)]


def _work(rank: int, function: Callable[[int], dict[str, Any]], folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=NUM_WORKERS)
    torch.save(function(rank), f"{folder}/{rank}.pt")
    if dist.is_initialized():
        dist.destroy_process_group()
