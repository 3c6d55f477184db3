"""The training loop: a generator that yields rows. The caller owns checkpoints, reports and stopping."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor

from raystudy.data.batch import Batch
from raystudy.errors import DeviceMemoryError, DivergedError
from raystudy.records import NAN, EvalRow, Exposure, Row, TrainRow
from raystudy.spec.exposure import PAPER_PIXELS
from raystudy.spec.plan import Segment
from raystudy.spec.trial import TrialSpec
from raystudy.training import collectives
from raystudy.training.optimizer import clip_gradient_norm, set_lr
from raystudy.training.state import TrainState


def train(
    state: TrainState,
    segment: Segment,
    batches: Iterable[Batch],
    validate: Callable[[TrainState], dict[str, float]],
) -> Iterator[Row]:
    """Train ``segment`` from ``state.iteration`` to its end, yielding each row right after it became true.

    Every rank yields the same rows. Nothing here depends on when it is called or on what ran before: the state, the
    batches and a seed of (seed, iteration, rank) decide each iteration, so that a resumed, forked or evaluated run
    takes the very steps of an uninterrupted one.

    Args:
        state: changed in place; between two rows it is ahead of the last row.
        segment: what is trained.
        batches: this rank's share of the global batches of iterations ``state.iteration`` to ``segment.end - 1``.
        validate: metrics and losses on the validation set, equal on every rank.

    Raises:
        DivergedError: the loss of an iteration is not finite on some rank; the weights are those before it.
        DeviceMemoryError: the device's memory does not hold the batch.
    """
    spec = segment.spec
    meter = _Meter()
    for batch in meter.timed(batches):
        seed_iteration(spec.seed, state.iteration, collectives.rank())
        lr = segment.lr_at(state.iteration)
        set_lr(state.optimizer, lr)
        try:
            losses = _forward_backward(state, batch.to(state.device), spec)
        except torch.OutOfMemoryError as error:
            raise _memory_error(batch, state.device) from error
        if spec.optimizer.clip_gradient_norm:
            clip_gradient_norm(state.model, spec.optimizer.clip_gradient_norm)
        state.optimizer.step()
        state.iteration += 1
        meter.add(losses, batch)
        at_end = state.iteration == segment.end
        if at_end or state.iteration % spec.log_interval == 0:
            yield _keep(state, meter.row(state, segment, lr))
        if at_end or state.iteration % spec.eval_interval == 0:
            yield _keep(state, _eval_row(state, segment, lr, meter.timed_call(validate, state)))


def evaluate(state: TrainState, segment: Segment, validate: Callable[[TrainState], dict[str, float]]) -> EvalRow:
    """Look once at weights that are trained: the only row of an evaluation, a segment of zero iterations."""
    row = _eval_row(state, segment, segment.lr_at(segment.end - 1), _Meter().timed_call(validate, state))
    state.rows.append(row)
    return row


def seed_iteration(seed: int, iteration: int, rank: int) -> None:
    """Make every random draw of one iteration on one rank a function of (seed, iteration, rank)."""
    torch.manual_seed(int(np.random.SeedSequence((seed, iteration, rank)).generate_state(1, np.uint64)[0]) >> 1)


def autocast(spec: TrialSpec, device: torch.device) -> AbstractContextManager[None]:
    """The precision of forward passes: bfloat16 where that is safe, for ``bf16``; float32 otherwise."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=spec.precision == "bf16")


def _forward_backward(state: TrainState, batch: Batch, spec: TrialSpec) -> dict[str, Tensor]:
    with autocast(spec, state.device):
        losses: dict[str, Tensor] = state.network(batch)
    total = torch.stack(list(losses.values())).sum()
    if not _is_finite_everywhere(total.detach()):
        parts = ", ".join(f"{name} {float(value.detach()):g}" for name, value in losses.items())
        raise DivergedError(f"the loss of iteration {state.iteration} is not finite ({parts} on this rank)")
    state.optimizer.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    return losses


def _is_finite_everywhere(total: Tensor) -> bool:
    """Agree on it before anyone steps: a rank that stopped alone would leave the others waiting for its gradients."""
    if collectives.world_size() == 1:
        return math.isfinite(float(total))
    broken = collectives.all_reduce_sum((~torch.isfinite(total)).to(torch.float32).reshape(1))
    return float(broken) == 0.0


def _keep(state: TrainState, row: Row) -> Row:
    state.rows.append(row)
    return row


def _eval_row(state: TrainState, segment: Segment, lr: float, metrics: dict[str, float]) -> EvalRow:
    exposure = state.exposure
    return EvalRow(
        segment_id=segment.segment_id,
        iteration=state.iteration,
        lr=lr,
        global_batch=segment.spec.global_batch,
        workers=segment.spec.workers,
        images=exposure.images,
        instances=exposure.instances,
        pixels_nominal=exposure.pixels_nominal,
        pixels_measured=exposure.pixels_measured,
        wall_time_s=state.wall_time_s,
        **metrics,  # type: ignore[arg-type]
    )


def _memory_error(batch: Batch, device: torch.device) -> DeviceMemoryError:
    height, width = batch.images.shape[-2:]
    return DeviceMemoryError(
        f"{device} has no memory for {len(batch.sizes)} images of {height} x {width} pixels; "
        "take fewer images per worker, smaller images or precision bf16"
    )


class _Meter:
    """Sums since the last training row: of losses on the device, of what was seen, and of time."""

    def __init__(self) -> None:
        self._mark = time.perf_counter()
        self._reset()

    def _reset(self) -> None:
        self._losses: dict[str, Tensor] = {}
        self._count = 0
        self._seen = torch.zeros(3, dtype=torch.float64)  # images, instances, pixels of this rank
        self._wait_s = 0.0
        self._train_s = 0.0

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Pass batches through, counting the time that training waits for them."""
        iterator = iter(batches)
        while True:
            before = time.perf_counter()
            batch = next(iterator, None)
            self._wait_s += time.perf_counter() - before
            if batch is None:
                return
            yield batch

    def timed_call(self, validate: Callable[[TrainState], dict[str, float]], state: TrainState) -> dict[str, float]:
        """Validate, counting its time to the segment but not to the training rows."""
        metrics = validate(state)
        state.wall_time_s += self._lap()
        return metrics

    def add(self, losses: dict[str, Tensor], batch: Batch) -> None:
        """Count one iteration."""
        for name, value in losses.items():
            exact = value.detach().to(torch.float64)
            self._losses[name] = self._losses[name] + exact if name in self._losses else exact
        self._count += 1
        self._seen += torch.tensor([len(batch.sizes), batch.num_instances, batch.num_pixels], dtype=torch.float64)

    def row(self, state: TrainState, segment: Segment, lr: float) -> TrainRow:
        """The row of all ranks since the last one; starts counting anew."""
        world = collectives.world_size()
        seen = [int(value) for value in collectives.all_reduce_sum(self._seen.to(state.device)).tolist()]
        totals = collectives.all_reduce_sum(torch.stack(list(self._losses.values())))
        means = dict(zip(self._losses, (totals / (self._count * world)).tolist(), strict=True))
        state.exposure = _add(state.exposure, *seen)
        elapsed = self._lap()
        state.wall_time_s += elapsed
        row = TrainRow(
            segment_id=segment.segment_id,
            iteration=state.iteration,
            lr=lr,
            global_batch=segment.spec.global_batch,
            workers=world,
            loss=sum(means.values()),
            **means,
            images=state.exposure.images,
            instances=state.exposure.instances,
            pixels_nominal=state.exposure.pixels_nominal,
            pixels_measured=state.exposure.pixels_measured,
            wall_time_s=state.wall_time_s,
            iterations_per_s=self._count / elapsed if elapsed > 0 else NAN,
            data_wait_s=self._wait_s,
            memory_mib=_peak_memory_mib(state.device),
            utilization=_utilization(state.device),
        )
        self._reset()
        return row

    def _lap(self) -> float:
        now = time.perf_counter()
        elapsed, self._mark = now - self._mark, now
        return elapsed


def _add(exposure: Exposure, images: int, instances: int, pixels: int) -> Exposure:
    return Exposure(
        images=exposure.images + images,
        instances=exposure.instances + instances,
        pixels_nominal=exposure.pixels_nominal + images * PAPER_PIXELS,
        pixels_measured=exposure.pixels_measured + pixels,
    )


def _utilization(device: torch.device) -> float:
    """Percent, from the driver by way of the package pynvml, which torch needs for it and may not be there."""
    if device.type != "cuda":
        return NAN
    try:
        return float(torch.cuda.utilization(device))
    except Exception:  # whatever the driver's library raises: a measurement that is missing costs no trial
        return NAN


def _peak_memory_mib(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else NAN
