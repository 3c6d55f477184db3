"""Validation losses: independent of when, where and after what they are computed."""

import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from raystudy.data.batch import Batch, Target
from raystudy.evaluation.losses import validation_losses

CPU = torch.device("cpu")


class Sampler(nn.Module):
    """A stand-in whose losses hang on the pictures, on the batch norm's mode and on random draws."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.frozen = nn.BatchNorm2d(3).eval()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        features = self.norm(batch.images.float()).mean() + torch.rand(())
        return {"loss_box_class": features, "loss_box_reg": torch.tensor(float(sum(batch.image_ids)))}


def batch_of(image_ids: list[int], with_instances: list[bool]) -> Batch:
    generator = torch.Generator().manual_seed(image_ids[0])
    images = torch.randint(0, 255, (len(image_ids), 3, 8, 8), dtype=torch.uint8, generator=generator)
    targets = [Target(torch.ones(int(has), 4), torch.ones(int(has), dtype=torch.int64)) for has in with_instances]
    size = [(8, 8)] * len(image_ids)
    return Batch(images, size, targets, image_ids, size)


BATCHES = [
    batch_of([1, 2], [True, True]),
    batch_of([3, 4], [False, True]),
    batch_of([5, 6], [False, False]),
    batch_of([7], [True]),
]


def test_it_depends_neither_on_the_random_state_nor_on_the_order_of_batches() -> None:
    model = Sampler()
    torch.manual_seed(1)
    first = validation_losses(model, BATCHES, CPU, seed=0)
    torch.manual_seed(2)
    second = validation_losses(model.train(), BATCHES[::-1], CPU, seed=0)
    assert second == pytest.approx(first, rel=1e-12, nan_ok=True)
    assert validation_losses(model, BATCHES, CPU, seed=1)["loss"] != first["loss"]


def test_random_state_modes_statistics_and_gradients_are_left_as_they_were() -> None:
    model = Sampler()
    model.train()
    model.frozen.eval()
    statistics = model.norm.running_mean
    assert statistics is not None
    before = statistics.clone()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    validation_losses(model, BATCHES, CPU, seed=0)
    assert torch.equal(torch.rand(3), expected)
    assert (model.training, model.norm.training, model.frozen.training) == (True, True, False)
    assert torch.equal(statistics, before)
    assert torch.is_grad_enabled()


def test_it_is_the_mean_over_pictures_with_instances() -> None:
    losses = validation_losses(Sampler(), BATCHES, CPU, seed=0)
    # Pictures 1 and 2 together, 4, and 7: each batch's loss counts as often as it has pictures.
    assert losses["loss_box_reg"] == pytest.approx(((1 + 2) * 2 + 4 + 7) / 4)
    assert losses["loss"] == pytest.approx(losses["loss_box_reg"] + losses["loss_box_class"])
    assert math.isnan(losses["loss_mask"])


def test_without_any_instance_all_losses_are_nan() -> None:
    losses = validation_losses(Sampler(), [BATCHES[2]], CPU, seed=0)
    assert all(math.isnan(value) for value in losses.values())


def work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.manual_seed(rank)
    # Rank 1 has a batch without any instance only; it still joins.
    shard = [*BATCHES[:2], BATCHES[3]] if rank == 0 else [BATCHES[2]]
    torch.save(validation_losses(Sampler(), shard, CPU, seed=0), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_shards_give_the_losses_of_the_whole_on_every_rank(tmp_path: Path) -> None:
    spawn(work, args=(str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    whole = validation_losses(Sampler(), BATCHES, CPU, seed=0)
    for rank in (0, 1):
        assert torch.load(tmp_path / f"{rank}.pt") == pytest.approx(whole, rel=1e-12, nan_ok=True)
