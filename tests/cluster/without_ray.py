"""Plans trained in this process, without Ray, and what they leave."""

import time
from pathlib import Path
from typing import Any

import torch

from raystudy.cluster.ledger import read_trial
from raystudy.cluster.settings import RunSettings
from raystudy.cluster.worker import run_segment
from raystudy.records import Row
from raystudy.spec.plan import Plan
from raystudy.spec.trial import TrialSpec
from raystudy.store import Store
from tests.tiny_trials import settings


class KilledError(Exception):
    """Stands for SIGKILL: nothing after it runs."""


class FakeRun:
    """Counts reports; dies at the given one."""

    def __init__(self, die_at: int | None = None) -> None:
        self.reports: list[dict[str, Any]] = []
        self._die_at = die_at

    def report(self, progress: dict[str, Any]) -> None:
        self.reports.append(progress)
        if progress["iteration"] == self._die_at:
            raise KilledError


class HangingRun(FakeRun):
    """A worker that stops answering after iteration 4."""

    def report(self, progress: dict[str, Any]) -> None:
        """Hangs there."""
        if progress["iteration"] == 4:
            time.sleep(600)


def run_here(plan: Plan, storage: Path) -> RunSettings:
    """Train every segment of the plan, one after the other."""
    given = settings(storage)
    for segment in plan.segments:
        run_segment(segment, given, FakeRun())
    return given


def rows_of(plan: Plan, trial: TrialSpec, given: RunSettings) -> list[Row]:
    """All rows of a trial."""
    store = Store.open(given.storage)
    return store.trial_rows(read_trial(store, plan, trial.trial_id))


def last_state(plan: Plan, trial: TrialSpec, given: RunSettings) -> dict[str, Any]:
    """What the trial's last checkpoint holds."""
    last = [ref for ref in plan.paths[trial.trial_id] if not ref.is_evaluation][-1]
    folder = Store.open(given.storage).segment(last.segment_id).load(last.end)
    content: dict[str, Any] = torch.load(folder / "state.pt", weights_only=True)
    return content


def flat(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Weights and momentum by name."""
    momentum = {f"momentum.{k}": v["momentum_buffer"] for k, v in state["optimizer"]["state"].items()}
    return {**state["model"], **momentum}
