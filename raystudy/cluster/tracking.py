"""Tracking: views of the storage in Weights & Biases and TensorBoard that cost no trial.

    TrackingSettings     where runs are shown                  (here)
    open_tracker         what a trial tells its rows           (here)
    tracked_runs         what is told: runs, points, summary   plain data
    tracking_wandb       one run in W&B, live or uploaded      tracking_media, tracking_artifacts: what belongs to it
    tracking_sync        W&B from the storage
    tracking_view        the workspace, tracking_report the report

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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlparse

from raystudy.cluster.tracked_runs import TrackedRun, earlier_rows
from raystudy.errors import SpecError
from raystudy.records import Row, TrialState
from raystudy.store import Store

LOGGER = logging.getLogger(__name__)


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

    weights: bool = False
    """Whether the final weights of complete trials are uploaded, with what they were made from."""

    @classmethod
    def parse(cls, text: str, *, offline: bool = False, folder: str = "", weights: bool = False) -> "TrackingSettings":
        """From ``PROJECT`` or ``PROJECT/ENTITY``.

        Raises:
            SpecError: a name that wandb does not accept.
        """
        project, _, entity = text.partition("/")
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", project) or (entity and not re.fullmatch(r"[\w.-]+", entity)):
            raise SpecError(
                f"--wandb is {text!r}, but must be PROJECT or PROJECT/ENTITY of letters, digits, '-', '_' and '.'"
            )
        return cls(project=project, entity=entity, offline=offline, folder=folder, weights=weights)

    def problems(self) -> list[str]:
        """What would keep runs from arriving, told before anything starts."""
        if self.offline or mode_from_environment() or _has_key():
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


def open_tracker(
    settings: TrackingSettings | None,
    runs: Sequence[TrackedRun],
    store: Store | None = None,
    segment_id: str = "",
    *,
    tensorboard: bool = False,
) -> Tracker:
    """The tracker of what one process feeds: one that does nothing when tracking is off. On rank 0 only.

    Args:
        settings: Weights & Biases; None is off.
        runs: what is tracked: a trial, or a trunk and the trials that end in it. Each takes the rows that are its own.
        store: where earlier rows, pictures, tables and weights come from; None takes the given rows alone.
        segment_id: the segment whose rows the tracker will be given.
        tensorboard: whether files for TensorBoard are written, to the storage.
    """
    trackers: list[Tracker] = []
    is_in_wandb = settings is not None and mode_from_environment() != "disabled"
    if is_in_wandb and runs:
        _finish_left_open()
    for run in runs:
        before = functools.partial(earlier_rows, store, run, segment_id) if store is not None else list[Row]
        if settings is not None and is_in_wandb:
            from raystudy.cluster.tracking_wandb import WandbTracker

            trackers.append(_Harmless("W&B", run, before, functools.partial(WandbTracker, settings, run, store)))
        if tensorboard and store is not None:
            from raystudy.cluster.tensorboard import TensorboardTracker

            opened = functools.partial(TensorboardTracker, store, run)
            trackers.append(_Harmless("TensorBoard", run, before, opened))
    return _Trackers(trackers)


def _finish_left_open() -> None:
    from raystudy.cluster.tracking_wandb import finish_left_open

    try:
        finish_left_open()
    except Exception as error:
        LOGGER.warning("an earlier run of this process could not be ended in W&B (%s)", error)


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
    """A tracker of one run, fed with the rows that are the run's; its errors end the tracking, not the trial."""

    def __init__(
        self, name: str, run: TrackedRun, before: Callable[[], list[Row]], open_it: Callable[[], Tracker]
    ) -> None:
        self._name, self._run = name, run
        self._before: list[Row] = []
        self._reached = 0
        self._tracker: Tracker | None = None
        with self._told():
            self._before = before()
            self._tracker = open_it()

    def log(self, rows: Sequence[Row]) -> None:
        own = [*self._before, *(row for row in rows if row.iteration <= self._run.end)]
        self._reached = max([self._reached, *(row.iteration for row in own[-1:])])
        if self._tracker is not None:
            with self._told():
                self._tracker.log(own)

    def finish(self, state: TrialState, error: str = "") -> None:
        if self._reached >= self._run.end:  # whatever became of the trunk that it has ended in
            state, error = TrialState.COMPLETE, ""
        elif self._run.is_trial and state == TrialState.COMPLETE:  # its trunk was asked for a part only
            state = TrialState.RUNNING
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
                self._run.run_id,
                self._name,
                type(error).__name__,
                error,
            )


def mode_from_environment() -> str:
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
