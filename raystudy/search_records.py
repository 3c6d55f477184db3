"""What a search leaves behind: one record with every trial that was suggested, readable without Optuna."""

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raystudy.errors import StorageError
from raystudy.records import SegmentRef
from raystudy.spec.identity import to_dict

SEARCH_VERSION = 1


class SearchState(enum.StrEnum):
    """Where a search trial stands."""

    RUNNING = "running"
    """Suggested, and not at its end yet."""

    COMPLETE = "complete"
    """Trained to its end: only these have a value and can be best."""

    PRUNED = "pruned"
    """Stopped at a rung, where it was not among the best; what it had there is no result."""

    DIVERGED = "diverged"
    """Its loss was not finite."""

    FAILED = "failed"
    """It could not be trained; ``error`` says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchTrial:
    """One suggestion and what became of it."""

    arm: str
    number: int
    """Within its arm, from 0."""

    generation: int
    values: Mapping[str, Any]
    """Parameter -> value; a choice by its name."""

    trial_id: str
    segments: tuple[SegmentRef, ...]
    """Its whole path; of a pruned trial, what was to come too."""

    total: int
    """Iterations of its schedule."""

    state: SearchState = SearchState.RUNNING
    iteration: int = 0
    """Iterations that it has."""

    at_rungs: Mapping[str, float] = field(default_factory=dict)
    """The metric at each rung that it has reached before its rate dropped: iteration (as text) -> value."""

    value: float | None = None
    """The metric at its end; None unless it is complete."""

    error: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it still trains."""
        return self.state == SearchState.RUNNING


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchRecord:
    """All of a search. ``STORAGE/searches/<name>.json``."""

    name: str
    spec: Mapping[str, Any]
    """``SearchSpec.to_dict()``."""

    trials: tuple[SearchTrial, ...] = ()
    """In the order in which they were suggested."""

    importances: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Arm -> parameter -> share of the importance; empty until an arm is done."""

    importance_method: str = ""
    best: Mapping[str, int] = field(default_factory=dict)
    """Arm -> number of its best complete trial; empty until the search is done."""

    commit: str = ""
    version: int = SEARCH_VERSION

    def of_arm(self, arm: str) -> list[SearchTrial]:
        """The arm's trials by number."""
        return sorted((trial for trial in self.trials if trial.arm == arm), key=lambda trial: trial.number)

    def best_trial(self, arm: str) -> SearchTrial | None:
        """The complete trial with the largest value, the earliest of equals; a pruned one never is."""
        complete = [trial for trial in self.of_arm(arm) if trial.state == SearchState.COMPLETE]
        return max(complete, key=lambda trial: trial.value if trial.value is not None else 0.0, default=None)

    def with_trial(self, changed: SearchTrial) -> "SearchRecord":
        """The record with this trial replaced, or added at its end."""
        key = (changed.arm, changed.number)
        trials = [changed if (trial.arm, trial.number) == key else trial for trial in self.trials]
        known = any((trial.arm, trial.number) == key for trial in self.trials)
        return dataclasses.replace(self, trials=tuple(trials) if known else (*trials, changed))

    def trained_iterations(self, arm: str) -> int:
        """Iterations that the arm's trials trained, a trunk that several of them share counted once."""
        reached: dict[str, tuple[int, int]] = {}
        for trial in self.of_arm(arm):
            for ref in trial.segments:
                end = min(ref.end, trial.iteration)
                if end > ref.start:
                    reached[ref.segment_id] = (ref.start, max(end, reached.get(ref.segment_id, (0, 0))[1]))
        return sum(end - start for start, end in reached.values())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        plain: dict[str, Any] = to_dict(self)
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "SearchRecord":
        """The inverse of ``to_dict``; raises ``StorageError`` for another version's."""
        if data.get("version") != SEARCH_VERSION:
            raise StorageError(
                f"a search record has version {data.get('version')}, but this raystudy reads {SEARCH_VERSION}"
            )
        return cls(**{**data, "trials": tuple(_trial(trial) for trial in data["trials"])})


def _trial(data: Mapping[str, Any]) -> SearchTrial:
    segments = tuple(SegmentRef(**ref) for ref in data["segments"])
    return SearchTrial(**{**data, "segments": segments, "state": SearchState(data["state"])})
