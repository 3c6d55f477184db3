"""One rank of one segment: resume, train, commit. Knows neither Tune nor Train, only the ``Run`` that it is given."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch.nn.parallel import DistributedDataParallel

from raystudy.cluster.commits import Commits, progress_of, provenance
from raystudy.cluster.settings import RunSettings
from raystudy.cluster.tracked_runs import TrackedRun, with_provenance
from raystudy.cluster.tracking import Tracker, open_tracker
from raystudy.cluster.weights import WEIGHTS_FILE
from raystudy.data.batch import Batch
from raystudy.data.loader import TrainLoader
from raystudy.data.picture_store import open_store
from raystudy.data.splits import open_split_once
from raystudy.errors import DivergedError, PreemptedError, TrainingError
from raystudy.records import NAN, EvalRow, TrialState, read_rows
from raystudy.segment_store import Attempt, SegmentStore
from raystudy.spec.plan import Segment
from raystudy.store import Store
from raystudy.training import collectives
from raystudy.training.loop import evaluate, train
from raystudy.training.state import TrainState, build_state
from raystudy.training.validation import Validator


class Run(Protocol):
    """Where a segment runs, as far as training needs to know."""

    def report(self, progress: dict[str, Any]) -> None:
        """Tell the scheduler how far it is. Called by every rank, equally often."""
        ...


def run_segment(
    segment: Segment,
    settings: RunSettings,
    run: Run,
    tracked: Sequence[TrackedRun] = (),
    must_leave: Callable[[], bool] | None = None,
) -> None:
    """Train ``segment`` to its end, from wherever its storage says that it stands.

    ``tracked`` are the runs that Weights & Biases shows of it, when tracking is on. ``must_leave`` tells that this
    machine is about to go: the segment is committed at its next row, and ``PreemptedError`` ends this attempt. All
    workers have one or none has.

    Divergence and a device out of memory are results: they are kept, and not raised. Everything else is raised, so
    that whoever scheduled the segment can try again; what was committed is not lost.
    """
    torch.set_num_threads(settings.threads)
    kept = Store.open(settings.storage).segment(segment.segment_id)
    if kept.is_done(segment.end):
        run.report(progress_of(kept.rows()[-1], segment))
        return
    is_first = collectives.rank() == 0
    begun = collectives.broadcast_object(_begin(kept, segment) if is_first else None)
    attempt = begun.number
    state = _restore(segment, settings, kept, begun)
    if is_first:
        kept.log("start", attempt=attempt, iteration=state.iteration, end=segment.end)
    tracker = _open_tracker(segment, settings, tracked if is_first else ())
    with Commits(segment, settings, kept, attempt, tracker) as commits:
        try:
            _train(state, segment, settings, commits, run, must_leave)
            outcome, error = TrialState.COMPLETE, ""
        except TrainingError as problem:
            outcome = TrialState.DIVERGED if isinstance(problem, DivergedError) else TrialState.FAILED
            error = str(problem)
        if is_first:
            commits.finish(state, outcome, error)


def _open_tracker(segment: Segment, settings: RunSettings, tracked: Sequence[TrackedRun]) -> Tracker:
    origin = provenance(settings) if tracked else {}
    runs = [with_provenance(run, origin, settings.device) for run in tracked]
    store = Store.open(settings.storage)
    return open_tracker(settings.tracking, runs, store, segment.segment_id, tensorboard=settings.tensorboard)


def _begin(kept: SegmentStore, segment: Segment) -> Attempt:
    kept.declare(segment.to_dict())
    return kept.begin_attempt(at_most=segment.end)


def _restore(segment: Segment, settings: RunSettings, kept: SegmentStore, begun: Attempt) -> TrainState:
    """The state to go on from: the checkpoint that the attempt has named, else its ancestors' at the fork, else the
    init."""
    store = Store.open(settings.storage)
    spec = segment.spec
    weights = store.weights_folder(spec.init.weights_id) / WEIGHTS_FILE if spec.init.kind == "pretrained" else None
    named = _to_go_on_from(store, segment, kept, begun) if collectives.rank() == 0 else None
    found = collectives.broadcast_object(named)
    iteration = 0 if found is None else found[0]
    trained = replace(spec, model=segment.model_at(max(0, iteration - 1)))  # what made the checkpoint
    state = build_state(trained, weights, torch.device(settings.device))
    if found is not None:
        _, place, is_own = found
        folder = store.files.fetch(place)
        state.load(folder, read_rows(folder / "rows.arrow") if is_own else (), wall_time=is_own)
    return state


def _to_go_on_from(store: Store, segment: Segment, kept: SegmentStore, begun: Attempt) -> tuple[int, str, bool] | None:
    """Iteration and place of the checkpoint, and whether it is the segment's own."""
    if begun.start is not None and begun.place is not None:
        return begun.start, begun.place, True
    for ancestor in reversed(segment.ancestors):
        found = store.segment(ancestor).latest(at_most=segment.start)
        if found is not None:
            return found[0], found[1], False
    return None


def _train(
    state: TrainState,
    segment: Segment,
    settings: RunSettings,
    commits: Commits,
    run: Run,
    must_leave: Callable[[], bool] | None,
) -> None:
    """Train what is left and, when the segment is an evaluation, evaluate.

    A gap between an older checkpoint and the fork is trained first, when the fork's own was lost. Its rows are the
    trunk's, and nothing of it is kept.
    """
    spec, rank = segment.spec, collectives.rank()
    train_set, validation_set = open_split_once(spec.data, "train"), open_split_once(spec.data, "val")
    store, processes = open_store(spec.data, settings.cache_gib), settings.loader_processes
    loader = TrainLoader(train_set, spec, rank, collectives.world_size(), loader_processes=processes, store=store)
    validate = Validator(validation_set, spec, train_set, loader_processes=processes, store=store)
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
                run.report(progress_of(row, segment))
            elif must_leave is not None and row.iteration < piece.end and row.iteration % spec.eval_interval:
                _leave_when_told(state, segment, commits, must_leave)
    if segment.is_evaluation:
        row = evaluate(state, segment, validate)
        if rank == 0:
            commits.keep_evaluation(validate)
            commits.progress(row)
        run.report(progress_of(row, segment))


def _leave_when_told(state: TrainState, segment: Segment, commits: Commits, must_leave: Callable[[], bool]) -> None:
    """Between two evaluations, right after a training row: what is committed here goes on with the very same rows."""
    told = collectives.all_reduce_sum({"told": float(must_leave())})["told"]
    if not told:
        return
    if collectives.rank() == 0:
        commits.save(state)
    raise PreemptedError(f"segment {segment.segment_id} leaves its machine at iteration {state.iteration}")


def _train_gap(state: TrainState, piece: Segment, batches: Iterable[Batch], run: Run) -> None:
    """Train iterations that the trunk has trained before, without looking at them again."""
    try:
        for row in train(state, piece, batches, lambda _: {"loss": NAN}):
            if isinstance(row, EvalRow):
                run.report(progress_of(row, piece))
    finally:
        state.rows.clear()
