"""One and two workers of one trial: what the same global batch costs on both.

Two processes that compute at the same time slow each other down, whether they share a trial or not: by the memory that
they share, and by the core where two are one with two threads. So that side by side only what workers cost each other
by being one trial remains, the worker alone is measured beside a second one with a trial of its own.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from benchmarks.row import Outcome, Row
from raystudy.data.loader import TrainLoader
from raystudy.data.splits import open_split_once
from raystudy.spec.plan import make_plan
from raystudy.spec.presets import load_preset
from raystudy.spec.trial import TrialSpec, replaced
from raystudy.training import collectives
from raystudy.training.loop import train
from raystudy.training.state import build_state
from tests.models.workers import NUM_WORKERS, on_two_workers


def large() -> TrialSpec:
    """The paper's detector at 320 pixels on the demo's pictures, two of them an iteration."""
    base = load_preset("demo").base
    sizes = replaced(base, **{"input.train_short_sides": (320,), "input.test_short_side": 320, "input.max_side": 320})
    return dataclasses.replace(sizes, model=load_preset("paper").base.model, images_per_worker=2)


SPECS: dict[str, Callable[[], TrialSpec]] = {"demo": lambda: load_preset("demo").base, "large": large}


def iterate(rank: int, name: str, workers: int, warm_up: int, rounds: int, iterations: int) -> dict[str, Any]:
    """CPU and wall seconds an iteration of each round, on one of ``workers`` workers that share a batch.

    With one worker, each of the processes trains a trial of its own.
    """
    if workers == 1:
        distributed.destroy_process_group()
        rank = 0
    base = SPECS[name]()
    spec = dataclasses.replace(
        base, workers=workers, images_per_worker=base.global_batch // workers, eval_interval=10_000, log_interval=1
    )
    (segment,) = make_plan([spec]).segments
    state = build_state(spec, None, torch.device("cpu"))
    if collectives.world_size() > 1:
        state.network = DistributedDataParallel(state.model)
    loader = TrainLoader(open_split_once(spec.data, "train"), spec, rank, collectives.world_size())
    marks = []
    for row in train(state, segment, loader.batches(0, warm_up + rounds * iterations), lambda _: {}):
        if row.iteration >= warm_up and (row.iteration - warm_up) % iterations == 0:
            marks.append((time.process_time(), time.perf_counter()))
    taken = [[(b - a) / iterations for a, b in zip(one, other, strict=True)] for one, other in pairwise(marks)]
    return {"cpu": [cpu for cpu, _ in taken], "wall": [wall for _, wall in taken]}


def _scaling(quick: bool, name: str, warm_up: int, rounds: int, iterations: int) -> Outcome:
    lengths = {"warm_up": 1, "rounds": 1, "iterations": 1 if quick else iterations}
    if not quick:
        lengths |= {"warm_up": warm_up, "rounds": rounds}
    alone, both = (
        on_two_workers(functools.partial(iterate, name=name, workers=workers, **lengths))
        for workers in (1, NUM_WORKERS)
    )
    two = [sum(of_rank) for of_rank in zip(*(found["cpu"] for found in both), strict=True)]
    one = [sum(of_rank) / NUM_WORKERS for of_rank in zip(*(found["cpu"] for found in alone), strict=True)]
    wall = min(min(found["wall"]) for found in alone) / max(min(found["wall"]) for found in both)
    note = (
        f"{SPECS[name]().global_batch} pictures over all workers, gloo and DistributedDataParallel; by the wall clock, "
        f"best rounds, two workers were {wall:.2f} times as fast, which any other load on the machine lowers"
    )
    return Outcome(two, one, unit="CPU s an iteration, all workers", note=note)


ROWS = (
    Row(
        name="scaling",
        what="iteration of R50-FPN GN 4conv1fc, 320 pixels, batch 2, on two workers",
        against="the same batch on one worker beside another trial",
        measure=functools.partial(_scaling, name="large", warm_up=1, rounds=2, iterations=1),
        at_most=1.2,
    ),
    Row(
        name="scaling_demo",
        what="iteration of the demo's detector, batch 4, on two workers",
        against="the same batch on one worker beside another trial",
        measure=functools.partial(_scaling, name="demo", warm_up=6, rounds=5, iterations=20),
        at_most=2,
    ),
)
