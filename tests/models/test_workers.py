"""The detector on two workers: SyncBN and DDP keep in step when one of them has nothing to learn from."""

import torch
from torch.nn.parallel import DistributedDataParallel

from raystudy.models.detector import build_detector
from raystudy.models.initialization import initialize
from raystudy.spec.evaluation import EvalSpec
from tests.models.synthetic import NUM_CATEGORIES, random_batch, tiny_spec
from tests.models.workers import on_two_workers

SHARES = (((2, 3), (0, 0)), ((0, 0), (1, 4)), ((0, 0), (0, 0)))
"""Instances of the pictures of both workers, iteration by iteration."""


def _train(rank: int) -> dict[str, torch.Tensor]:
    detector = build_detector(tiny_spec(norm="sync_bn"), NUM_CATEGORIES, EvalSpec())
    initialize(detector, 0)
    wrapped = DistributedDataParallel(detector)
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.01)
    for iteration, shares in enumerate(SHARES):
        torch.manual_seed(2 * iteration + rank)
        losses = wrapped(random_batch(shares[rank], seed=rank))
        optimizer.zero_grad()
        sum(losses.values(), torch.zeros(())).backward()
        optimizer.step()
    return detector.state_dict()


def test_workers_without_positives_join_every_all_reduce_and_weights_stay_equal() -> None:
    first, second = on_two_workers(_train)
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert all(value.isfinite().all() for value in first.values())
