"""What a segment leaves behind: rows, checkpoints, matches, pictures and how it ended, each made final by rank 0."""

import logging
import math
import os
import platform
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

import torch

from raystudy.cluster.settings import RunSettings
from raystudy.cluster.tracked_runs import is_shown
from raystudy.cluster.tracking import Tracker
from raystudy.data.splits import SPLITS, open_split_once
from raystudy.data.subset import statistics_of
from raystudy.errors import DataError, StorageError
from raystudy.evaluation.examples import Examples
from raystudy.evaluation.matches import Matches
from raystudy.records import EvalRow, Row, TrialState
from raystudy.segment_store import SegmentStore
from raystudy.spec.data import DataSpec
from raystudy.spec.plan import Segment
from raystudy.store import Store
from raystudy.training import collectives
from raystudy.training.state import Snapshot, TrainState
from raystudy.training.validation import Validator

LOGGER = logging.getLogger(__name__)

SHOWN_EVERY_S = 10.0
"""How often progress is written to an object store, where every write is paid for."""


class Commits:
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
        self._shower = ThreadPoolExecutor(max_workers=1)
        self._showing: Future[None] | None = None
        self._shown_at = -math.inf

    def __enter__(self) -> "Commits":
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.shutdown(wait=True)
        self._shower.shutdown(wait=False, cancel_futures=True)

    def commit(self, state: TrainState, validate: Validator) -> None:
        """Make everything up to the state's iteration final; returns before that is done."""
        self._wait()
        matches = validate.matches() if state.iteration in self._segment.ends else {}
        self._writing = self._writer.submit(
            self._write, state.snapshot(), state.iteration, list(state.rows), matches, self._examples(state, validate)
        )

    def save(self, state: TrainState) -> None:
        """Make everything up to the state's iteration final between two evaluations; returns when that is done."""
        self._wait()
        self._write(state.snapshot(), state.iteration, list(state.rows), {}, None)

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
        """Tell people how far it is; an object store only now and then, and without waiting for it."""
        progress = progress_of(row, self._segment)
        if self._kept.files.is_local:
            self._show(progress)
        elif time.monotonic() - self._shown_at > SHOWN_EVERY_S and (self._showing is None or self._showing.done()):
            self._shown_at = time.monotonic()
            self._showing = self._shower.submit(self._show, progress)

    def _show(self, progress: dict[str, Any]) -> None:
        try:
            self._kept.write_progress(progress)
        except StorageError as error:
            LOGGER.warning("segment %s: its progress is not shown (%s)", self._kept.segment_id, error)

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


def progress_of(row: Row, segment: Segment) -> dict[str, Any]:
    """What people and the scheduler are told of a row."""
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
    found = {split: statistics_of(open_split_once(data, split)) for split in SPLITS}
    return {"repairs": {split: statistics.pop("repairs") for split, statistics in found.items()}, "data": found}
