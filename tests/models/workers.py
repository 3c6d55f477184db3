"""Two processes that share a gloo group, for the tests."""

import faulthandler
import multiprocessing
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessException, start_processes

NUM_WORKERS = 2

LIMIT_S = 300.0
"""A worker that takes longer hangs: it ends, and its stacks are what the test fails with."""


def on_two_workers(function: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    """What ``function(rank)`` returns on each of two workers; it is a module-level function.

    The processes are forked from a server that has torch loaded already, so that only the first call is slow.
    """
    multiprocessing.set_forkserver_preload(["torch", "torchvision", function.__module__])
    with tempfile.TemporaryDirectory() as folder:
        try:
            start_processes(_work, args=(function, folder), nprocs=NUM_WORKERS, start_method="forkserver")  # type: ignore
        except ProcessException as error:
            stacks = "\n".join(path.read_text() for path in sorted(Path(folder).glob("*.stacks")))
            raise AssertionError(f"{error}\n{stacks}") from error
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(NUM_WORKERS)]


def _work(rank: int, function: Callable[[int], dict[str, Any]], folder: str) -> None:
    faulthandler.dump_traceback_later(LIMIT_S, exit=True, file=open(f"{folder}/{rank}.stacks", "w"))  # noqa: SIM115
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=NUM_WORKERS)
    torch.save(function(rank), f"{folder}/{rank}.pt")
    if dist.is_initialized():
        dist.destroy_process_group()
