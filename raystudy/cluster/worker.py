"""One rank of one segment: resume, train, commit. Knows neither Tune nor Train, only the ``Run`` that it is given."""

import functools
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch.nn.parallel import DistributedDataParallel

from raystudy.cluster.settings import RunSettings
from raystudy.cluster.tracked_runs import TrackedRun, is_shown, with_provenance
from raystudy.cluster.tracking import Tracker, open_tracker
from raystudy.cluster.weights import WEIGHTS_FILE
from raystudy.data.batch import Batch
from raystudy.data.coco import CocoDataset
from raystudy.data.loader import TrainLoader, open_split
from raystudy.data.splits import SPLITS
from raystudy.data.subset import statistics_of
from raystudy.errors import DataError, DivergedError, TrainingError
from raystudy.evaluation.examples import Examples
from raystudy.evaluation.matches import Matches
from raystudy.records import NAN, EvalRow, Row, TrialState, read_rows
from raystudy.segment_store import SegmentStore
from raystudy.spec.data import DataSpec
from raystudy.spec.plan import Segment
from raystudy.store import Store
from raystudy.training import collectives
from raystudy.training.loop import evaluate, train
from raystudy.training.state import Snapshot, TrainState, build_state
from raystudy.training.validation import Validator


class Run(Protocol):
    """Where a segment runs, as far as training needs to know."""

    def report(self, progress: dict[str, Any]) -> None:
        """Tell the scheduler how far it is. Called by every rank, equally often."""
        ...


def run_segment(segment: Segment, settings: RunSettings, run: Run, tracked: Sequence[TrackedRun] = ()) -> None:
    """Train ``segment`` to its end, from wherever its storage says that it stands.

    ``tracked`` are the runs that Weights & Biases shows of it, when tracking is on.

    Divergence and a device out of memory are results: they are kept, and not raised. Everything else is raised, so
    that whoever scheduled the segment can try again; what was committed is not lost.
    """
    torch.set_num_threads(settings.threads)
    kept = Store.open(settings.storage).segment(segment.segment_id)
    if kept.is_done(segment.end):
        run.report(_progress(kept.rows()[-1], segment))
        return
    is_first = collectives.rank() == 0
    attempt = collectives.broadcast_object(_begin(kept, segment) if is_first else None)
    state = _restore(segment, settings, kept)
    if is_first:
        kept.log("start", attempt=attempt, iteration=state.iteration, end=segment.end)
    tracker = _open_tracker(segment, settings, tracked if is_first else ())
    with _Commits(segment, settings, kept, attempt, tracker) as commits:
        try:
            _train(state, segment, settings, commits, run)
            outcome, error = TrialState.COMPLETE, ""
        except TrainingError as problem:
            outcome = TrialState.DIVERGED if isinstance(problem, DivergedError) else TrialState.FAILED
            error = str(problem)
        if is_first:
            commits.finish(state, outcome, error)


class _Commits:
    """What rank 0 keeps of a segment, in storage first and then in views of it.

    Checkpoints are written by a thread from a copy of the state, one after another, while training goes on.
    """

    def __init__(
        self,
        segment: Segment,
        settings: RunSettings,
        kept: SegmentStore,
        attempt: int,
        tracker: Tracker,
    ) -> None:
        self._segment, self._settings, self._kept = segment, settings, kept
        self._attempt, self._tracker = attempt, tracker
        self._writer = ThreadPoolExecutor(max_workers=1)
        self._writing: Future[list[Row]] | None = None

    def __enter__(self) -> "_Commits":
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.shutdown(wait=True)

    def commit(self, state: TrainState, validate: Validator) -> None:
        """Make everything up to the state's iteration final; returns before that is done."""
        self._wait()
        matches = validate.matches() if state.iteration in self._segment.ends else {}
        self._writing = self._writer.submit(
            self._write, state.snapshot(), state.iteration, list(state.rows), matches, self._examples(state, validate)
        )

    def keep_evaluation(self, validate: Validator) -> None:
        """Keep what an evaluation saw; its weights are its parent's, so that there is no checkpoint."""
        self._keep_seen(self._segment.end, validate.matches(), validate.examples())

    def finish(self, state: TrainState, outcome: TrialState, error: str) -> None:
        """Keep how the segment ended."""
        self._wait()
        result = {
            "state": outcome.value,
            "iteration": state.iteration,
            "error": error,
            "wall_time_s": state.wall_time_s,
            "workers": collectives.world_size(),
            "device": self._settings.device,
            "attempts": self._attempt,
            **_told_of(self._segment.spec.data),
            "provenance": provenance(self._settings),
            "weights": _weights(self._segment, self._settings),
        }
        self._kept.finish(self._attempt, result, state.rows)
        self._kept.log("finish", attempt=self._attempt, iteration=state.iteration, state=outcome.value, error=error)
        self._kept.prune(keep=self._segment.forks, last=1)
        self._tracker.log(state.rows)
        self._tracker.finish(outcome, error)

    def progress(self, row: Row) -> None:
        """Tell people how far it is."""
        self._kept.write_progress(_progress(row, self._segment))

    def _write(
        self,
        snapshot: Snapshot,
        iteration: int,
        rows: list[Row],
        matches: Mapping[str, Matches],
        examples: Examples | None,
    ) -> list[Row]:
        """``matches`` are there at the end of a trial; ``examples`` then, and where tracking shows pictures."""
        self._keep_seen(iteration, matches, examples)
        self._kept.commit(self._attempt, iteration, snapshot.save, rows)
        self._kept.prune(keep=self._segment.forks)
        return rows

    def _keep_seen(self, iteration: int, matches: Mapping[str, Matches], examples: Examples | None) -> None:
        if matches:
            self._kept.keep_matches(self._attempt, iteration, matches)
        if examples is not None:
            self._kept.keep_examples(self._attempt, iteration, examples)

    def _examples(self, state: TrainState, validate: Validator) -> Examples | None:
        if state.iteration in self._segment.ends:
            return validate.examples()
        if self._settings.tracking is None or not is_shown(state.iteration, self._segment.spec.eval_interval):
            return None
        try:
            return validate.examples()
        except (OSError, DataError) as error:  # pictures for eyes only: they cost no trial
            self._kept.log("no examples", iteration=state.iteration, error=str(error))
            return None

    def _wait(self) -> None:
        """For the checkpoint that is being written; raises what went wrong with it."""
        if self._writing is not None:
            self._tracker.log(self._writing.result())
            self._writing = None


def _open_tracker(segment: Segment, settings: RunSettings, tracked: Sequence[TrackedRun]) -> Tracker:
    origin = provenance(settings) if tracked else {}
    runs = [with_provenance(run, origin, settings.device) for run in tracked]
    tensorboard = f"{settings.storage}/tensorboard" if settings.tensorboard else ""
    return open_tracker(settings.tracking, runs, Store.open(settings.storage), segment.segment_id, tensorboard)


def _begin(kept: SegmentStore, segment: Segment) -> int:
    kept.declare(segment.to_dict())
    return kept.begin_attempt()


def _restore(segment: Segment, settings: RunSettings, kept: SegmentStore) -> TrainState:
    """The state to go on from: the segment's newest checkpoint, else its ancestors' at the fork, else the init."""
    store = Store.open(settings.storage)
    spec = segment.spec
    weights = store.weights_folder(spec.init.weights_id) / WEIGHTS_FILE if spec.init.kind == "pretrained" else None
    found = collectives.broadcast_object(_newest_checkpoint(store, segment, kept) if collectives.rank() == 0 else None)
    iteration = 0 if found is None else found[0]
    trained = replace(spec, model=segment.model_at(max(0, iteration - 1)))  # what made the checkpoint
    state = build_state(trained, weights, torch.device(settings.device))
    if found is not None:
        _, folder, is_own = found
        state.load(Path(folder), read_rows(Path(folder) / "rows.arrow") if is_own else (), wall_time=is_own)
    return state


def _newest_checkpoint(store: Store, segment: Segment, kept: SegmentStore) -> tuple[int, str, bool] | None:
    """Iteration and folder of the newest sound checkpoint on the segment's path, and whether it is its own."""
    own = kept.latest(at_most=segment.end)
    if own is not None:
        return own[0], str(own[1]), True
    for ancestor in reversed(segment.ancestors):
        found = store.segment(ancestor).latest(at_most=segment.start)
        if found is not None:
            return found[0], str(found[1]), False
    return None


def _train(state: TrainState, segment: Segment, settings: RunSettings, commits: _Commits, run: Run) -> None:
    """Train what is left and, when the segment is an evaluation, evaluate.

    A gap between an older checkpoint and the fork is trained first, when the fork's own was lost. Its rows are the
    trunk's, and nothing of it is kept.
    """
    spec, rank = segment.spec, collectives.rank()
    train_set, validation_set = _dataset(spec.data, "train"), _dataset(spec.data, "val")
    loader = TrainLoader(train_set, spec, rank, collectives.world_size(), loader_processes=settings.loader_processes)
    validate = Validator(validation_set, spec, train_set)
    for piece in segment.pieces(state.iteration):
        if state.model.spec != piece.spec.model:
            state.switch_model(piece.spec)
        if collectives.world_size() > 1:
            state.network = DistributedDataParallel(state.model)
        batches = loader.batches(state.iteration, piece.end)
        if piece.end <= segment.start:
            _train_gap(state, piece, batches, run)
            continue
        for row in train(state, piece, batches, validate):
            if rank == 0:
                if isinstance(row, EvalRow):
                    commits.commit(state, validate)
                commits.progress(row)
            if isinstance(row, EvalRow):
                run.report(_progress(row, segment))
    if segment.is_evaluation:
        row = evaluate(state, segment, validate)
        if rank == 0:
            commits.keep_evaluation(validate)
            commits.progress(row)
        run.report(_progress(row, segment))


def _train_gap(state: TrainState, piece: Segment, batches: Iterable[Batch], run: Run) -> None:
    """Train iterations that the trunk has trained before, without looking at them again."""
    try:
        for row in train(state, piece, batches, lambda _: {"loss": NAN}):
            if isinstance(row, EvalRow):
                run.report(_progress(row, piece))
    finally:
        state.rows.clear()


def _progress(row: Row, segment: Segment) -> dict[str, Any]:
    progress: dict[str, Any] = {"iteration": row.iteration, "end": segment.end, "loss": row.loss}
    if isinstance(row, EvalRow):
        progress |= {"box_ap": row.box_ap, "mask_ap": row.mask_ap}
    else:
        progress |= {"iterations_per_s": row.iterations_per_s}
    return progress


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


def _weights(segment: Segment, settings: RunSettings) -> dict[str, Any] | None:
    """Where the weights come from that the segment's trials start from; None for random init."""
    init = segment.spec.init
    known = Store.open(settings.storage).weights_provenance(init.weights_id) if init.kind == "pretrained" else None
    return None if known is None else known.to_dict()


def _told_of(data: DataSpec) -> dict[str, Any]:
    """What was trained and evaluated on, and what was repaired or dropped of its annotations; by split."""
    found = {split: statistics_of(_dataset(data, split)) for split in SPLITS}
    return {"repairs": {split: statistics.pop("repairs") for split, statistics in found.items()}, "data": found}


@functools.lru_cache(maxsize=4)
def _dataset(data: DataSpec, split: Literal["train", "val"]) -> CocoDataset:
    """Opened once a process: the next trial in it finds the decoded pictures."""
    return open_split(data, split)
