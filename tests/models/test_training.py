"""Every architecture trains: on one worker, goes on with the same bits, on two workers, and at its full size."""

import dataclasses
import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from raystudy.data.loader import TrainLoader, open_split
from raystudy.models.backbones import SHAPES
from raystudy.models.detector import build_detector
from raystudy.models.initialization import initialize
from raystudy.records import EvalRow
from raystudy.spec.data import ShapesSpec
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.model import Backbone, CascadeSpec
from raystudy.spec.plan import Segment, make_plan
from raystudy.spec.presets import Preset, load_preset, shapes_data
from raystudy.spec.schedule import Drop, ScheduleSpec
from raystudy.spec.trial import TrialSpec, replaced
from raystudy.spec.variants import original_faster_rcnn, with_keypoints
from raystudy.training.loop import train
from raystudy.training.state import TrainState, build_state
from raystudy.training.validation import Validator
from tests.models.synthetic import random_batch
from tests.models.workers import on_two_workers
from tests.tiny_trials import results, tiny_trial

CPU = torch.device("cpu")
LARGE: tuple[Backbone, ...] = ("resnet50", "resnet101", "resnext152_8x32d", "resnext152_32x8d", "vgg16")

Change = Callable[[TrialSpec], TrialSpec]


def _preset(trial: TrialSpec) -> Preset:
    return dataclasses.replace(load_preset("smoke"), base=trial)


TINY: dict[str, Change] = {
    "tiny": lambda trial: trial,
    "tiny_deep": lambda trial: replaced(trial, **{"model.backbone": "tiny_deep"}),
    "tiny_grouped": lambda trial: replaced(trial, **{"model.backbone": "tiny_grouped"}),
    "tiny_vgg": lambda trial: dataclasses.replace(trial, model=original_faster_rcnn(_preset(trial))),
    "boxes, sync_bn": lambda trial: replaced(trial, **{"model.mask_head": None, "model.norm": "sync_bn"}),
    "cascade": lambda trial: replaced(trial, **{"model.cascade": CascadeSpec()}),
    "keypoints": lambda trial: with_keypoints(_preset(trial)),
}


def _segment(trial: TrialSpec) -> Segment:
    (segment,) = make_plan([trial], share=False).segments
    return segment


def _digest(state: TrainState) -> str:
    found = hashlib.sha256()
    for value in state.model.state_dict().values():
        found.update(value.contiguous().numpy().tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("name", TINY)
def test_an_architecture_trains_and_goes_on_from_a_checkpoint_with_the_same_bits(name: str, tmp_path: Path) -> None:
    trial = TINY[name](tiny_trial(total=4, before_end=1, eval_interval=2))
    segment, loader = _segment(trial), TrainLoader(open_split(trial.data, "train"), trial, 0, 1)
    validate = Validator(open_split(trial.data, "val"), trial)
    whole, kept = build_state(trial, None, CPU), 0
    before = _digest(whole)
    for row in train(whole, segment, loader.batches(0, 4), validate):
        if row.split == "val" and row.iteration == 2:
            whole.snapshot().save(tmp_path)
            kept = len(whole.rows)
    assert _digest(whole) != before
    resumed = build_state(trial, None, CPU)
    resumed.load(tmp_path, whole.rows[:kept])
    assert list(train(resumed, segment, loader.batches(2, 4), validate))
    assert results(resumed.rows) == results(whole.rows)
    assert _digest(resumed) == _digest(whole)


def _narrow(trial: TrialSpec, backbone: Backbone) -> TrialSpec:
    """A large backbone, behind which everything is tiny."""
    if backbone == "vgg16":
        model = original_faster_rcnn(load_preset("paper"))
        model = dataclasses.replace(model, box_head=dataclasses.replace(model.box_head, fc_channels=16))
        return dataclasses.replace(trial, model=dataclasses.replace(model, rpn=trial.model.rpn))
    return replaced(trial, **{"model.backbone": backbone})


NARROW = {
    "resnet50": {"widths": (8, 16, 32, 64)},
    "resnet101": {"widths": (8, 16, 32, 64)},
    "resnext152_8x32d": {"widths": (32, 64, 128, 256)},
    "resnext152_32x8d": {"widths": (32, 64, 128, 256)},
}
"""An eighth of their widths, at their own depth, groups and strides."""


def _train_on_two_workers(rank: int) -> dict[str, str]:
    """Two iterations of every architecture: the weights, as a digest, and the loss of both workers."""
    changes = dict(TINY)
    for name in LARGE:
        changes[name] = partial(_narrow, backbone=name)
    shapes = {name: dataclasses.replace(SHAPES[name], stem=8, **widths) for name, widths in NARROW.items()}
    digests = {}
    for name, change in changes.items():
        trial = change(tiny_trial(total=2, before_end=1, workers=2, images_per_worker=1))
        with patch.dict(SHAPES, shapes):
            state = build_state(trial, None, CPU)
        state.network = DistributedDataParallel(state.model)
        loader = TrainLoader(open_split(trial.data, "train"), trial, rank, 2)
        rows = list(train(state, _segment(trial), loader.batches(0, 2), lambda _: {"loss": 0.0}))
        digests[name] = f"{_digest(state)} {rows[0].loss}"
    return digests


def test_every_architecture_keeps_the_weights_of_two_workers_equal() -> None:
    first, second = on_two_workers(_train_on_two_workers)
    assert len(first) == len(TINY) + len(LARGE)
    assert first == second


@pytest.mark.parametrize("backbone", LARGE)
def test_a_large_backbone_trains_all_of_its_parameters(backbone: Backbone) -> None:
    trial = _narrow(tiny_trial(), backbone)
    detector = build_detector(trial.model, 6, EvalSpec())
    initialize(detector, 0)
    losses = detector(random_batch((2, 1), ((64, 64), (64, 64))))
    total = sum(losses.values(), torch.zeros(()))
    assert total.isfinite()
    total.backward()
    assert [name for name, p in detector.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    assert [name for name, p in detector.backbone.named_parameters() if not p.grad.any()] == []


@pytest.mark.parametrize(("name", "metric", "total"), [("tiny", "mask_ap", 150), ("keypoints", "keypoint_ap", 200)])
def test_a_tiny_detector_learns_four_images_by_heart(name: str, metric: str, total: int) -> None:
    trial = TINY[name](
        dataclasses.replace(
            load_preset("demo").base,
            data=shapes_data(ShapesSpec(num_train=4, num_val=4)),
            schedule=ScheduleSpec(total=total, drops=(Drop(before_end=total // 4),), warmup_iterations=20),
            eval_interval=1000,
            log_interval=1000,
        )
    )
    dataset, state = open_split(trial.data, "train"), build_state(trial, None, CPU)
    batches = TrainLoader(dataset, trial, 0, 1).batches(0, total)
    (last,) = (row for row in train(state, _segment(trial), batches, Validator(dataset, trial)) if row.split == "val")
    assert isinstance(last, EvalRow)
    assert last.box_ap > 50
    assert getattr(last, metric) > 50
