"""Collectives: no-ops alone, and over two gloo ranks."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from raystudy.training import collectives


def test_alone_everything_is_a_no_op() -> None:
    values = torch.tensor([1.0, 2.0])
    summed = collectives.all_reduce_sum(values)
    assert torch.equal(summed, values)
    assert summed is not values
    assert collectives.all_reduce_sum({"b": 1.5, "a": 2.0}) == {"b": 1.5, "a": 2.0}
    assert collectives.gather_objects("x") == ["x"]
    assert collectives.broadcast_object({"y": 1}) == {"y": 1}
    assert (collectives.rank(), collectives.world_size()) == (0, 1)
    collectives.barrier()


def work(rank: int, folder: str) -> None:
    """What each of two ranks does; failures of a child fail the parent."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    assert (collectives.rank(), collectives.world_size()) == (rank, 2)
    mine = torch.tensor([rank + 1.0, 10.0])
    assert collectives.all_reduce_sum(mine).tolist() == [3.0, 20.0]
    assert mine.tolist() == [rank + 1.0, 10.0]
    ordered = {"a": 1.0 + rank, "b": 0.1} if rank == 0 else {"b": 0.2, "a": 1.0 + rank}
    assert collectives.all_reduce_sum(ordered) == {"a": 3.0, "b": pytest.approx(0.3)}
    assert collectives.gather_objects({"rank": rank}) == ([{"rank": 0}, {"rank": 1}] if rank == 0 else [])
    assert collectives.broadcast_object(f"from {rank}") == "from 0"
    with pytest.raises(ValueError, match="different names"):
        collectives.all_reduce_sum({"a": 1.0} if rank == 0 else {"c": 1.0})
    collectives.barrier()
    dist.destroy_process_group()


def test_two_ranks_sum_gather_and_broadcast(tmp_path: Path) -> None:
    spawn(work, args=(str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
