"""Studies, searches and calibrations in this process: what Tune and Ray would do, one node after the other.

Everything else is the real thing: plan, preflight, searcher, training, storage, report. A study then takes seconds,
because no process has to start.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import ray.tune
from ray.tune.search import Searcher

from raystudy.cluster import calibration, driver, search, tuner
from raystudy.cluster.room import Group
from raystudy.cluster.search_searcher import SearchSearcher
from raystudy.cluster.searcher import PlanSearcher
from raystudy.cluster.settings import RunSettings

PATIENCE_S = 60.0
"""For a searcher that has nothing to hand out; nothing else runs meanwhile, so that a longer silence is a fault."""


class OpenGate:
    """Room for whatever asks, since one node runs at a time."""

    def admits(self, group: Group, flying: Sequence[Group], ready: Sequence[Group]) -> bool:
        """As the gate."""
        return True

    def renew(self, flying: Sequence[Group], ready: Sequence[Group] = ()) -> None:
        """As the gate."""


def tune_here(searcher: PlanSearcher | SearchSearcher, settings: RunSettings, *, nested: bool) -> dict[str, str]:
    """As ``tuner.tune``: train what the searcher hands out until it has no more."""
    assert not nested, "several workers need a cluster"
    number, asked = 0, time.monotonic()
    while (config := searcher.suggest(str(number))) != Searcher.FINISHED:
        if config is None:
            assert searcher.refusal is None, searcher.refusal
            assert time.monotonic() - asked < PATIENCE_S, "the searcher hands nothing out"
            time.sleep(0.05)
            continue
        assert isinstance(config, dict)
        last: dict[str, Any] = {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ray.tune, "report", last.update)
            driver.drive(config)
        searcher.on_trial_complete(str(number), last)
        number, asked = number + 1, time.monotonic()
    searcher.close()
    return dict(searcher.failed)


@contextmanager
def connected_here(segments: Sequence[Any], settings: RunSettings) -> Iterator[RunSettings]:
    """As ``tuner.connected``, on this machine's CPU."""
    yield settings if settings.device != "auto" else tuner.with_device(settings)


@contextmanager
def without_ray() -> Iterator[None]:
    """While it lasts, whatever would start a Ray runs here."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (tuner, search):
            patch.setattr(module, "connected", connected_here)
            patch.setattr(module, "opened_gate", lambda *_: nullcontext(OpenGate()))
            patch.setattr(module, "tune", tune_here)
        patch.setattr(calibration, "connected", connected_here)
        patch.setattr(driver, "_needs_workers", lambda workers: False)
        patch.setattr(ray, "remote", lambda **_: lambda function: SimpleNamespace(remote=function))
        patch.setattr(ray, "get", lambda value: value)
        yield
