"""Searches that train in seconds, and a stand-in for Tune that trains in this very process, without Ray."""

import random
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from raystudy.cluster import search as search_module
from raystudy.cluster.search_searcher import SearchSearcher
from raystudy.cluster.settings import RunSettings
from raystudy.cluster.worker import run_segment
from raystudy.search_records import SearchRecord
from raystudy.spec.parameter import Parameter
from raystudy.spec.search import Arm, SearchSpec
from raystudy.spec.segment import Segment
from tests.tiny_trials import settings, tiny_trial


def tiny_search(trials: int = 6, **changes: Any) -> SearchSpec:
    """One arm; rate and length on a grid, the drop's factor between; pruned at iterations 2 and 4."""
    given: dict[str, Any] = {
        "name": "tiny",
        "base": tiny_trial(total=6, before_end=2),
        "arms": (Arm(name="random", overrides={"init.kind": "random"}),),
        "parameters": (
            Parameter(name="base_lr", path="optimizer.base_lr", low=0.01, high=0.04, log=True, steps=2),
            Parameter(name="iterations", path="schedule.total", low=4, high=8, whole=True, steps=3),
            Parameter(name="factor", path="schedule.drops.*.factor", low=0.01, high=0.5, log=True),
        ),
        "trials": trials,
        "generation": 2,
        "startup": 2,
        "min_values": 2,
        "rungs": (2, 4),
    }
    return SearchSpec(**(given | changes))


class KilledError(Exception):
    """As if the process had died."""


class InProcess:
    """Trains what a searcher hands out, here and now.

    Args:
        slots: nodes that are handed out before one of them is trained.
        seed: draws which of them that is.
        die_after: reports of training after which everything stops dead.
        is_broken: whether Tune gives up every node.
    """

    def __init__(self, slots: int = 1, seed: int = 0, die_after: int | None = None, is_broken: bool = False) -> None:
        self._slots, self._draw, self._left = slots, random.Random(seed), die_after
        self._is_broken = is_broken
        self.trained: list[tuple[str, int, int]] = []
        """(segment, start, end) of each node, in order."""

    def report(self, progress: dict[str, Any]) -> None:
        """As the worker reports; dies at the given one."""
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise KilledError

    def tune(self, searcher: SearchSearcher, given: RunSettings, *, nested: bool) -> dict[str, str]:
        """In place of Tune."""
        try:
            return self._tune(searcher, given)
        finally:
            searcher.close()

    def _tune(self, searcher: SearchSearcher, given: RunSettings) -> dict[str, str]:
        running: dict[str, dict[str, Any]] = {}
        number = 0
        while True:
            while len(running) < self._slots:
                config = searcher.suggest(str(number))
                if not isinstance(config, dict):
                    break
                running[str(number)] = config
                number += 1
            if not running:
                return searcher.failed
            chosen = self._draw.choice(sorted(running))
            segment = Segment.from_dict(running.pop(chosen)["node"])
            self.trained.append((segment.segment_id, segment.start, segment.end))
            if not self._is_broken:
                run_segment(segment, given, self)
            searcher.on_trial_complete(chosen, error=self._is_broken)


def run_in_process(
    search: SearchSpec, storage: Path, monkeypatch: pytest.MonkeyPatch, engine: InProcess | None = None
) -> SearchRecord:
    """``run_search`` with the stand-in instead of Ray."""
    monkeypatch.setattr(search_module, "tune", (engine or InProcess()).tune)
    monkeypatch.setattr(search_module, "connected", lambda segments, given: nullcontext(given))
    monkeypatch.setattr("raystudy.cluster.flights.DELAYS_S", (0.0, 0.0, 0.0))
    monkeypatch.setattr(search_module, "opened_gate", lambda segments, given: nullcontext())
    return search_module.run_search(search, settings(storage))
