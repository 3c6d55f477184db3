"""Trials that Tune has given up without a word to the search algorithm.

Tune reuses a process for the next trial. When that fails, the trial ends with an error of which the search algorithm is
never told: it would wait for the node for ever, and the study with it.
"""

from collections.abc import Collection
from typing import Any, Protocol

from ray.tune import Callback
from ray.tune.experiment import Trial


class HandsOutNodes(Protocol):
    """A search algorithm of ours, as far as this is concerned."""

    @property
    def flying(self) -> Collection[str]:
        """Tune's ids of the trials that it takes to be at work."""
        ...

    def on_trial_lost(self, trial_id: str) -> None:
        """A trial has ended before its node began."""
        ...


class LostTrials(Callback):
    """Tells the search algorithm of them, so that their nodes are handed out again."""

    def __init__(self, searcher: HandsOutNodes) -> None:
        self._searcher = searcher

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Before Tune asks for more: whatever has ended in an earlier step has been told of by then, or never will."""
        for trial in trials:
            if trial.status == Trial.ERROR and trial.trial_id in self._searcher.flying:
                self._searcher.on_trial_lost(trial.trial_id)
