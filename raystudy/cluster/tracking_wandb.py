"""One run in Weights & Biases: fed while it is trained, or uploaded from the storage afterwards."""

import logging
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import wandb

from raystudy.cluster.tracked_runs import AXIS, TrackedRun, points, pretraining_summary, summary
from raystudy.cluster.tracking import TrackingSettings, mode_from_environment
from raystudy.cluster.tracking_artifacts import log_weights
from raystudy.cluster.tracking_generations import generation, wandb_id
from raystudy.cluster.tracking_media import with_media
from raystudy.cluster.wandb_service import end_service
from raystudy.errors import TrackingError
from raystudy.files import scratch
from raystudy.records import Row, TrialState
from raystudy.store import Store

LOGGER = logging.getLogger(__name__)

_FLUSH_INTERVAL_S = 1.0
"""Between writes of wandb's own log. Its default of 15 s loses the whole run when a process is killed early."""

_open: dict[str, wandb.Run] = {}
"""Runs of this process that have not been finished, by id: Tune takes the process for one segment after another."""


class WandbTracker:
    """A run that is fed with committed rows as they come."""

    def __init__(self, settings: TrackingSettings, run: TrackedRun, store: Store | None) -> None:
        self._settings, self._tracked, self._store = settings, run, store
        self._rows: list[Row] = []
        self._run = _init(settings, run, store)
        self._last_iteration = max(self._run.starting_step - 1, 0)
        """Rows up to here have been given to wandb, by this process or by one before it."""

    def log(self, rows: Sequence[Row]) -> None:
        """Show what was not shown before."""
        seen = self._rows[-1].iteration if self._rows else 0
        self._rows += [row for row in rows if row.iteration > seen]
        _log(self._run, [row for row in self._rows if row.iteration > self._last_iteration], self._tracked, self._store)
        self._last_iteration = max([self._last_iteration, *(row.iteration for row in self._rows[-1:])])

    def finish(self, state: TrialState, error: str = "") -> None:
        """Say how it ended, and wait for the last rows to arrive, no longer than the settings' bound."""
        ending = _ending(self._rows, self._tracked, state, error, self._store)
        self._run.summary.update(ending)
        if self._settings.weights and state == TrialState.COMPLETE and self._store is not None:
            log_weights(self._run, self._tracked, self._store, ending, self._settings.finish_timeout_s)
        _finish(self._run, state)


def upload(
    settings: TrackingSettings,
    run: TrackedRun,
    rows: Sequence[Row],
    state: TrialState,
    error: str = "",
    store: Store | None = None,
) -> int:
    """Bring a run that nothing works on any more to the server; points that it has already are not sent again.

    Args:
        settings: where to.
        run: what it is.
        rows: all that the storage holds of it.
        state: how it ended.
        error: why, when it failed.
        store: where pictures, tables and weights come from; None shows none.

    Returns:
        Points sent.

    Raises:
        TrackingError: the server was not reached, or did not take everything in time. Calling again is safe.
    """
    try:
        started = _start(settings, run, store, "online", all_or_error=True)
        sent = _log(started, [row for row in rows if row.iteration >= started.starting_step], run, store)
        ending = _ending(rows, run, state, error, store)
        started.summary.update(ending)
        if settings.weights and state == TrialState.COMPLETE and store is not None:
            log_weights(started, run, store, ending, settings.finish_timeout_s)
        _finish(started, state)
    except (wandb.Error, TimeoutError) as problem:
        _open.clear()
        end_service()
        raise TrackingError(f"{run.run_id} could not be uploaded to W&B: {problem}; try again later") from problem
    return sent


def finish_left_open() -> None:
    """End what an exception left open in this process: the id of an open run would be refused as still in use."""
    for started in list(_open.values()):
        _finish(started, TrialState.RUNNING)


def _log(started: wandb.Run, fresh: Iterable[Row], run: TrackedRun, store: Store | None) -> int:
    rows, sent = list(fresh), 0
    for point in points(rows, run):
        # One call with all that belongs to an iteration: wandb drops a second one at the same step. And commit=True:
        # a step that waits for the next one is lost when the process is killed.
        started.log(with_media(point, rows, run, store, started), step=point[AXIS], commit=True)
        sent += 1
    return sent


def _ending(rows: Sequence[Row], run: TrackedRun, state: TrialState, error: str, store: Store | None) -> dict[str, Any]:
    found = {**summary(rows, run), "state": state.value, "error": error}
    if run.job_type == "pretrain" and store is not None and store.has_weights(run.run_id):
        provenance = store.weights_provenance(run.run_id)
        found |= pretraining_summary({} if provenance is None else provenance.to_dict(), run)
    return found


def _finish(started: wandb.Run, state: TrialState) -> None:
    failed = state in (TrialState.DIVERGED, TrialState.FAILED)
    try:
        started.finish(exit_code=int(failed))
    finally:
        _open.pop(started.id, None)


def _init(settings: TrackingSettings, run: TrackedRun, store: Store | None) -> wandb.Run:
    if not settings.offline and mode_from_environment() != "offline":
        try:
            return _start(settings, run, store, "online")
        except wandb.Error as error:  # server not reached in time, key refused or missing
            LOGGER.warning("%s: W&B not reached, kept on disk instead (%s)", run.run_id, error)
            if not _open:
                end_service()  # it holds on to the id of the run that it could not start
    _remove_older_fragments(settings, wandb_id(run, generation(store, settings.project)))
    return _start(settings, run, store, "offline")


def _start(
    settings: TrackingSettings,
    run: TrackedRun,
    store: Store | None,
    mode: Literal["online", "offline"],
    *,
    all_or_error: bool = False,
) -> wandb.Run:
    identity = wandb_id(run, generation(store, settings.project))
    wandb.setup(wandb.Settings(silent=True))  # the setting of the run comes too late for the greeting
    folder = _folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    started = wandb.init(
        project=settings.project,
        entity=settings.entity or None,
        id=identity,
        name=run.run_id,
        group=run.group,
        job_type=run.job_type,
        tags=list(run.tags),
        config=dict(run.config),
        dir=str(folder) if settings.folder else None,
        mode=mode,
        # Without it a second process with the same id begins at step 0 again, and its rows come double.
        resume="allow" if mode == "online" else None,
        reinit="create_new",  # a trunk's process feeds the runs of the trials that end in it, too
        settings=wandb.Settings(
            init_timeout=settings.init_timeout_s,
            finish_timeout=settings.finish_timeout_s,
            finish_timeout_raises=all_or_error,
            x_transaction_log_flush_interval=_FLUSH_INTERVAL_S,
            console="off",
            silent=True,
            disable_git=True,
            save_code=False,
        ),
    )
    _open[identity] = started
    started.define_metric(AXIS)
    started.define_metric("*", step_metric=AXIS)
    return started


def _folder(settings: TrackingSettings) -> Path:
    """A folder of this machine, also for a storage that is none."""
    return scratch(settings.folder) if settings.folder else Path(".")


def _remove_older_fragments(settings: TrackingSettings, identity: str) -> None:
    """Delete what an earlier process kept of this run: the new one is given all its rows, and keeps them whole."""
    for folder in _folder(settings).glob(f"wandb/offline-run-*-{identity}"):
        shutil.rmtree(folder, ignore_errors=True)
