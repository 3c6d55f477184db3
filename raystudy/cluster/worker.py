"""One rank of one segment: resume, train, commit. Knows neither Tune nor Train, only the ``Run`` that it is given."""

import functools
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch.nn.parallel import DistributedDataParallel

from raystudy.cluster.settings import RunSettings
from raystudy.cluster.weights import WEIGHTS_FILE
from raystudy.data.coco import CocoDataset
from raystudy.data.loader import TrainLoader, open_split
from raystudy.errors import DivergedError, TrainingError
from raystudy.records import EvalRow, Row, TrialState, read_rows
from raystudy.spec.data import DataSpec
from raystudy.spec.plan import Segment
from raystudy.store import SegmentStore, Store
from raystudy.training import collectives
from raystudy.training.loop import train
from raystudy.training.state import TrainState, build_state
from raystudy.training.validation import Validator


class Run(Protocol):
    """Where a segment runs, as far as training needs to know."""

    def report(self, progress: dict[str, Any]) -> None:
        """Tell the scheduler how far it is. Called by every rank, equally often."""
        ...


def run_segment(segment: Segment, settings: RunSettings, run: Run) -> None:
    """Train ``segment`` to its end, from wherever its storage says that it stands.

    Divergence and a device out of memory are results: they are kept, and not raised. Everything else is raised, so
    that whoever scheduled the segment can try again; what was committed is not lost.
    """
    torch.set_num_threads(settings.threads)
    kept = Store.open(settings.storage).segment(segment.segment_id)
    if kept.is_done(segment.end):
        run.report(_progress(kept.rows()[-1], segment))
        return
    attempt = collectives.broadcast_object(_begin(kept, segment) if collectives.rank() == 0 else None)
    state = _restore(segment, settings, kept)
    try:
        _train(state, segment, settings, kept, attempt, run)
        outcome, error = TrialState.COMPLETE, ""
    except TrainingError as problem:
        outcome = TrialState.DIVERGED if isinstance(problem, DivergedError) else TrialState.FAILED
        error = str(problem)
    if collectives.rank() == 0:
        rows = _rows_after_start(state, segment)
        kept.finish(attempt, _result(state, outcome, error, attempt, settings), rows)


def _begin(kept: SegmentStore, segment: Segment) -> int:
    kept.declare(segment.to_dict())
    return kept.begin_attempt()


def _restore(segment: Segment, settings: RunSettings, kept: SegmentStore) -> TrainState:
    """The state to go on from: the segment's newest checkpoint, else its ancestors' at the fork, else the init."""
    store = Store.open(settings.storage)
    spec = segment.spec
    weights = store.weights_folder(spec.init.weights_id) / WEIGHTS_FILE if spec.init.kind == "pretrained" else None
    state = build_state(spec, weights, torch.device(settings.device))
    found = collectives.broadcast_object(_newest_checkpoint(store, segment, kept) if collectives.rank() == 0 else None)
    if found is not None:
        folder, is_own = found
        state.load(Path(folder), read_rows(Path(folder) / "rows.arrow") if is_own else (), wall_time=is_own)
    if collectives.world_size() > 1:
        state.network = DistributedDataParallel(state.model)
    return state


def _newest_checkpoint(store: Store, segment: Segment, kept: SegmentStore) -> tuple[str, bool] | None:
    """Folder of the newest sound checkpoint on the segment's path, and whether it is its own."""
    own = kept.latest(at_most=segment.end)
    if own is not None:
        return str(own[1]), True
    for ancestor in reversed(segment.ancestors):
        found = store.segment(ancestor).latest(at_most=segment.start)
        if found is not None:
            return str(found[1]), False
    return None


def _train(
    state: TrainState, segment: Segment, settings: RunSettings, kept: SegmentStore, attempt: int, run: Run
) -> None:
    spec = segment.spec
    loader = TrainLoader(
        _dataset(spec.data, "train"),
        spec,
        collectives.rank(),
        collectives.world_size(),
        loader_processes=settings.loader_processes,
    )
    validate = Validator(_dataset(spec.data, "val"), spec)
    for row in train(state, segment, loader.batches(state.iteration, segment.end), validate):
        if collectives.rank() == 0:
            if isinstance(row, EvalRow) and row.iteration > segment.start:
                kept.commit(attempt, row.iteration, state.save, _rows_after_start(state, segment))
                kept.prune(keep=segment.forks)
            kept.write_progress(_progress(row, segment))
        if isinstance(row, EvalRow):
            run.report(_progress(row, segment))


def _rows_after_start(state: TrainState, segment: Segment) -> list[Row]:
    """Without those of a gap between an older checkpoint and the fork: they are the trunk's rows, not the branch's."""
    return [row for row in state.rows if row.iteration > segment.start]


def _progress(row: Row, segment: Segment) -> dict[str, Any]:
    progress: dict[str, Any] = {"iteration": row.iteration, "end": segment.end, "loss": row.loss}
    if isinstance(row, EvalRow):
        progress |= {"box_ap": row.box_ap, "mask_ap": row.mask_ap}
    else:
        progress |= {"iterations_per_s": row.iterations_per_s}
    return progress


def _result(state: TrainState, outcome: TrialState, error: str, attempt: int, settings: RunSettings) -> dict[str, Any]:
    return {
        "state": outcome.value,
        "iteration": state.iteration,
        "error": error,
        "wall_time_s": state.wall_time_s,
        "workers": collectives.world_size(),
        "device": settings.device,
        "attempts": attempt,
        "provenance": provenance(settings),
    }


def provenance(settings: RunSettings) -> dict[str, Any]:
    """What ran: recorded with results, no part of any identity."""
    packages = ("raystudy", "torch", "torchvision", "ray", "pycocotools", "numpy")
    accelerator = torch.cuda.get_device_name() if settings.device == "cuda" else ""
    return {
        "versions": {name: version(name) for name in packages},
        "threads": settings.threads,
        "host": platform.node(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "accelerator": accelerator,
    }


@functools.lru_cache(maxsize=4)
def _dataset(data: DataSpec, split: Literal["train", "val"]) -> CocoDataset:
    """Opened once a process: the next trial in it finds the decoded pictures."""
    return open_split(data, split)
