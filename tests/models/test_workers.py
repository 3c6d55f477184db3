"""The detector on two workers: SyncBN and DDP keep in step when one of them has nothing to learn from."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from raystudy.models.detector import build_detector
from raystudy.models.initialization import initialize
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.model import CascadeSpec, KeypointHeadSpec, ModelSpec
from tests.models.synthetic import NUM_CATEGORIES, random_batch, tiny_spec
from tests.models.workers import on_two_workers

SHARES = (((2, 3), (0, 0)), ((0, 0), (1, 4)), ((0, 0), (0, 0)))
"""Instances of the pictures of both workers, iteration by iteration."""


KEYPOINTS = KeypointHeadSpec(num_keypoints=3, pool_size=4, num_convs=1, conv_channels=8, has_norm=True)


def _train(rank: int) -> dict[str, torch.Tensor]:
    return _trained(tiny_spec(norm="sync_bn"), rank)


def _train_cascade_with_keypoints(rank: int) -> dict[str, torch.Tensor]:
    spec = tiny_spec(norm="sync_bn")
    return _trained(dataclasses.replace(spec, cascade=CascadeSpec(), keypoint_head=KEYPOINTS), rank)


def _trained(spec: ModelSpec, rank: int) -> dict[str, torch.Tensor]:
    detector = build_detector(spec, NUM_CATEGORIES, EvalSpec())
    initialize(detector, 0)
    wrapped = DistributedDataParallel(detector)
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.01)
    for iteration, shares in enumerate(SHARES):
        torch.manual_seed(2 * iteration + rank)
        batch = random_batch(shares[rank], seed=rank)
        for target in batch.targets:
            middle = (target.boxes[:, :2] + target.boxes[:, 2:]) / 2
            target.keypoints = torch.cat([middle, torch.full((len(middle), 1), 2.0)], 1)[:, None].repeat(1, 3, 1)
        losses = wrapped(batch)
        optimizer.zero_grad()
        sum(losses.values(), torch.zeros(())).backward()
        optimizer.step()
    return detector.state_dict()


@pytest.mark.parametrize("train", [_train, _train_cascade_with_keypoints])
def test_workers_without_positives_join_every_all_reduce_and_weights_stay_equal(
    train: Callable[[int], dict[str, torch.Tensor]],
) -> None:
    first, second = on_two_workers(train)
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert all(value.isfinite().all() for value in first.values())
