"""Weights & Biases: a view of the storage that costs no trial.

Only rows that a checkpoint has committed are logged, each iteration once and in one call, so that a run never shows
what storage does not hold. A process that is killed and started again passes all rows of its trial; those that the
server has got are skipped. When the server cannot be reached, the run is kept on disk and training goes on; an error of
the tracking is told once and never reaches the trial. The key comes from the environment or netrc, where wandb itself
looks for it, and never passes through our hands.
"""

import functools
import logging
import netrc
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import urlparse

from raystudy.cluster.tracked_runs import AXIS, TrackedRun, points, summary
from raystudy.errors import SpecError, TrackingError
from raystudy.records import Row, TrialState

if TYPE_CHECKING:
    import wandb

LOGGER = logging.getLogger(__name__)

_FLUSH_INTERVAL_S = 1.0
"""Between writes of wandb's own log. Its default of 15 s loses the whole run when a process is killed early."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackingSettings:
    """Where runs are shown."""

    project: str
    entity: str = ""
    """User or team; empty takes the key's own."""

    offline: bool = False
    folder: str = ""
    """Local folder for wandb's files; empty is the working folder."""

    init_timeout_s: float = 30.0
    """How long a trial waits for the server at its start, before it goes on offline."""

    finish_timeout_s: float = 60.0
    """How long it waits at its end for the last rows to arrive; then they stay on disk."""

    @classmethod
    def parse(cls, text: str, *, offline: bool = False, folder: str = "") -> "TrackingSettings":
        """From ``PROJECT`` or ``PROJECT/ENTITY``.

        Raises:
            SpecError: a name that wandb does not accept.
        """
        project, _, entity = text.partition("/")
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", project) or (entity and not re.fullmatch(r"[\w.-]+", entity)):
            raise SpecError(
                f"--wandb is {text!r}, but must be PROJECT or PROJECT/ENTITY of letters, digits, '-', '_' and '.'"
            )
        return cls(project=project, entity=entity, offline=offline, folder=folder)

    def problems(self) -> list[str]:
        """What would keep runs from arriving, told before anything starts."""
        if self.offline or _mode_from_environment() or _has_key():
            return []
        return [
            "--wandb finds no key: set WANDB_API_KEY, or run `wandb login` (which writes it to ~/.netrc), "
            "or add --wandb-offline and upload later"
        ]


class Tracker(Protocol):
    """Shows one run to people."""

    def log(self, rows: Sequence[Row]) -> None:
        """Show committed rows, in order; those that were given before are skipped.

        Rows of equal iteration must come together, which they do when all rows so far are given each time.
        """
        ...

    def finish(self, state: TrialState, error: str = "") -> None:
        """The run has ended so; ``RUNNING`` when it will be taken up again."""
        ...


def open_tracker(settings: TrackingSettings | None, run: TrackedRun | None, tensorboard: str = "") -> Tracker:
    """The tracker of one run: one that does nothing when tracking is off. On rank 0 only.

    Args:
        settings: Weights & Biases; None is off.
        run: what is tracked.
        tensorboard: folder for TensorBoard's files; empty is off.
    """
    trackers = []
    if run is not None and settings is not None and _mode_from_environment() != "disabled":
        trackers.append(_Harmless("W&B", run, functools.partial(_WandbTracker, settings, run)))
    if run is not None and tensorboard:
        from raystudy.cluster.tensorboard import TensorboardTracker

        trackers.append(_Harmless("TensorBoard", run, functools.partial(TensorboardTracker, Path(tensorboard), run)))
    return _Trackers(trackers)


class _Trackers:
    """Several, or none at all."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = trackers

    def log(self, rows: Sequence[Row]) -> None:
        for tracker in self._trackers:
            tracker.log(rows)

    def finish(self, state: TrialState, error: str = "") -> None:
        for tracker in self._trackers:
            tracker.finish(state, error)


class _Harmless:
    """A tracker whose errors end the tracking, not the trial."""

    def __init__(self, name: str, run: TrackedRun, open_it: Callable[[], Tracker]) -> None:
        self._name, self._run_id = name, run.run_id
        self._tracker: Tracker | None = None
        with self._told():
            self._tracker = open_it()

    def log(self, rows: Sequence[Row]) -> None:
        if self._tracker is not None:
            with self._told():
                self._tracker.log(rows)

    def finish(self, state: TrialState, error: str = "") -> None:
        if self._tracker is not None:
            with self._told():
                self._tracker.finish(state, error)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._tracker = None
            LOGGER.warning(
                "%s: no longer tracked in %s, training goes on (%s: %s)",
                self._run_id,
                self._name,
                type(error).__name__,
                error,
            )


class _WandbTracker:
    def __init__(self, settings: TrackingSettings, run: TrackedRun) -> None:
        self._tracked = run
        self._rows: list[Row] = []
        self._run = _init(settings, run)
        self._last_iteration = max(self._run.starting_step - 1, 0)
        """Rows up to here have been given to wandb, by this process or by one before it."""

    def log(self, rows: Sequence[Row]) -> None:
        seen = self._rows[-1].iteration if self._rows else 0
        self._rows += [row for row in rows if row.iteration > seen]
        _log(self._run, points([row for row in self._rows if row.iteration > self._last_iteration], self._tracked))
        self._last_iteration = max([self._last_iteration, *(row.iteration for row in self._rows[-1:])])

    def finish(self, state: TrialState, error: str = "") -> None:
        self._run.summary.update(_ending(self._rows, self._tracked, state, error))
        self._run.finish(exit_code=_exit_code(state))


def upload(settings: TrackingSettings, run: TrackedRun, rows: Sequence[Row], state: TrialState, error: str = "") -> int:
    """Bring a run that nothing works on any more to the server; points that it has already are not sent again.

    Returns:
        Points sent.

    Raises:
        TrackingError: the server was not reached, or did not take everything in time. Calling again is safe.
    """
    import wandb

    try:
        started = _start(settings, run, "online", all_or_error=True)
        fresh = [row for row in rows if row.iteration >= started.starting_step]
        sent = _log(started, points(fresh, run))
        started.summary.update(_ending(rows, run, state, error))
        started.finish(exit_code=_exit_code(state))
    except (wandb.Error, TimeoutError) as problem:
        wandb.teardown()
        raise TrackingError(f"{run.run_id} could not be uploaded to W&B: {problem}; try again later") from problem
    return sent


def _log(started: "wandb.Run", fresh: Iterable[dict[str, Any]]) -> int:
    sent = 0
    for point in fresh:
        # commit=True: a step that waits for the next one is lost when the process is killed.
        started.log(point, step=point[AXIS], commit=True)
        sent += 1
    return sent


def _ending(rows: Sequence[Row], run: TrackedRun, state: TrialState, error: str) -> dict[str, Any]:
    return {**summary(rows, run), "state": state.value, "error": error}


def _exit_code(state: TrialState) -> int:
    return 0 if state == TrialState.COMPLETE else 1


def _init(settings: TrackingSettings, run: TrackedRun) -> "wandb.Run":
    import wandb

    if not settings.offline and _mode_from_environment() != "offline":
        try:
            return _start(settings, run, "online")
        except wandb.Error as error:  # server not reached in time, key refused or missing
            LOGGER.warning("%s: W&B not reached, kept on disk instead (%s)", run.run_id, error)
            wandb.teardown()  # wandb-core holds on to the id of the run that it could not start
    _remove_older_fragments(settings, run)
    return _start(settings, run, "offline")


def _start(
    settings: TrackingSettings, run: TrackedRun, mode: Literal["online", "offline"], *, all_or_error: bool = False
) -> "wandb.Run":
    import wandb

    if wandb.run is not None:  # left open by an exception; its id would be refused as still in use
        wandb.run.finish(exit_code=1)
    wandb.setup(wandb.Settings(silent=True))  # the setting of the run comes too late for the greeting
    if settings.folder:
        Path(settings.folder).mkdir(parents=True, exist_ok=True)
    started = wandb.init(
        project=settings.project,
        entity=settings.entity or None,
        id=run.run_id,
        name=run.run_id,
        group=run.group,
        job_type=run.job_type,
        tags=list(run.tags),
        config=dict(run.config),
        dir=settings.folder or None,
        mode=mode,
        # Without it a second process with the same id begins at step 0 again, and its rows come double.
        resume="allow" if mode == "online" else None,
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
    started.define_metric(AXIS)
    started.define_metric("*", step_metric=AXIS)
    return started


def _remove_older_fragments(settings: TrackingSettings, run: TrackedRun) -> None:
    """Delete what an earlier process kept of this run: the new one is given all its rows, and keeps them whole."""
    for folder in Path(settings.folder or ".").glob(f"wandb/offline-run-*-{run.run_id}"):
        shutil.rmtree(folder, ignore_errors=True)


def _mode_from_environment() -> str:
    """``offline`` or ``disabled`` when wandb's own variable says so, else empty."""
    mode = os.environ.get("WANDB_MODE", "")
    return {"offline": "offline", "dryrun": "offline", "disabled": "disabled"}.get(mode, "")


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
