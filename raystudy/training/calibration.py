"""How fast a trial trains and evaluates on this device: the real loop on the real data, for a few iterations."""

import dataclasses
import math
import time

import numpy as np
import torch

from raystudy.data.loader import TrainLoader, open_split
from raystudy.records import TrainRow
from raystudy.spec.cost import Speed
from raystudy.spec.plan import Segment, make_plan
from raystudy.spec.schedule import ScheduleSpec
from raystudy.spec.trial import InitSpec, PretrainSpec, TrialSpec
from raystudy.training.classifier import build_pretrain_state
from raystudy.training.loop import train
from raystudy.training.pretraining import pretrain_rows
from raystudy.training.pretraining_pictures import open_pictures
from raystudy.training.state import TrainState, build_state
from raystudy.training.validation import Validator

WARMUP_ITERATIONS = 5
"""Not timed: memory is allocated, kernels are chosen, loader processes start. Also the length of a timed row."""

MOST_IMAGES = 64
"""Validation pictures that are timed; the time of all follows in proportion."""


def measure_speed(trial: TrialSpec, device: torch.device, iterations: int = 20, loader_processes: int = 0) -> Speed:
    """Seconds of an iteration and of an evaluation of one worker alone.

    Weights are random whatever the init says: they need no file. They also find fewer objects than trained ones, so
    that an evaluation of a good detector takes somewhat longer than is measured here.

    Args:
        trial: of which one worker's share of the batch is trained.
        device: where.
        iterations: how many are timed, at least; rounded up to whole rows.
        loader_processes: that prepare its batches.
    """
    segment = _segment(trial, iterations)
    spec = segment.spec
    state = build_state(spec, None, device)
    train_set, val_set = open_split(spec.data, "train"), open_split(spec.data, "val")
    part = val_set.subset(np.arange(min(MOST_IMAGES, len(val_set))))
    validator, evaluation_s = Validator(part, spec, loader_processes=loader_processes), 0.0

    def validate(validated: TrainState) -> dict[str, float]:
        nonlocal evaluation_s
        began = time.perf_counter()
        metrics = validator(validated)
        evaluation_s = time.perf_counter() - began
        return metrics

    loader = TrainLoader(train_set, spec, 0, 1, loader_processes=loader_processes)
    rows = list(train(state, segment, loader.batches(0, segment.end), validate))
    timed = [row for row in rows if isinstance(row, TrainRow) and row.iteration > WARMUP_ITERATIONS]
    memory = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
    return Speed(
        iteration_s=sum(1 / row.iterations_per_s for row in timed) / len(timed),
        evaluation_s=evaluation_s * len(val_set) / len(part),
        memory_mib=memory,
    )


def measure_pretraining(
    recipe: PretrainSpec, device: torch.device, iterations: int = 10, loader_processes: int = 0
) -> float:
    """Seconds of an iteration of one worker's share of the batch."""
    alone = dataclasses.replace(recipe, workers=1, batch_size=recipe.batch_size // recipe.workers, lr_drops=())
    pictures = open_pictures(alone)
    state = build_pretrain_state(alone, pictures.num_classes, device)
    for _ in pretrain_rows(state, pictures, dataclasses.replace(alone, iterations=WARMUP_ITERATIONS), loader_processes):
        pass
    began = time.perf_counter()
    total = WARMUP_ITERATIONS + iterations
    for _ in pretrain_rows(state, pictures, dataclasses.replace(alone, iterations=total), loader_processes):
        pass
    return (time.perf_counter() - began) / iterations


def _segment(trial: TrialSpec, iterations: int) -> Segment:
    """A trial of so many iterations after the warm-up ones, on one worker, evaluated once at its end."""
    total = WARMUP_ITERATIONS * (1 + math.ceil(iterations / WARMUP_ITERATIONS))
    short = dataclasses.replace(
        trial,
        schedule=ScheduleSpec(total=total, drops=()),
        init=InitSpec(),
        optimizer=dataclasses.replace(trial.optimizer, base_lr=1e-6),  # nothing can diverge
        workers=1,
        eval_interval=total,
        log_interval=WARMUP_ITERATIONS,
    )
    return make_plan([short]).segments[0]
