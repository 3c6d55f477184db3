"""How long training waits for what it leaves behind: checkpoints, rows, matches, pictures, and telling of them."""

import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.row import Outcome, Row
from raystudy.cluster import worker
from raystudy.cluster.commits import Commits
from raystudy.cluster.settings import RunSettings
from raystudy.records import Row as TrialRow
from raystudy.records import TrainRow
from raystudy.spec.plan import make_plan
from raystudy.spec.presets import load_preset
from raystudy.store import Store
from raystudy.training.state import TrainState


def _waiting(quick: bool) -> Outcome:
    """A trial of the demo, with a clock around everything that its loop calls and that is not training."""
    preset = load_preset("smoke" if quick else "demo")
    plan = make_plan(
        [dataclasses.replace(preset.base, schedule=preset.schedule_axis((1,)).levels[0].overrides["schedule"])]
    )
    clocks = {"loop": 0.0, "writer": 0.0, "end": 0.0}
    last = plan.segments[-1].end

    def moment(_: Commits, seen: TrainState | TrialRow, *__: Any) -> str:
        return "loop" if seen.iteration < last else "end"  # after its last iteration no training waits

    _clock(Commits, "commit", clocks, moment)
    _clock(Commits, "progress", clocks, moment)
    _clock(Commits, "_write", clocks, lambda *_: "writer")
    _clock(Commits, "finish", clocks, lambda *_: "end")
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder), create=True)
        for segment in plan.segments:
            worker.run_segment(segment, RunSettings(storage=folder, study="waiting"), _Silent())
        rows = [row for segment in plan.segments for row in store.segment(segment.segment_id).rows()]
    trained = [row for row in rows if isinstance(row, TrainRow)]
    interval = preset.base.log_interval
    seconds = sum(interval / row.iterations_per_s for row in trained)
    note = (
        f"{trained[-1].iteration} iterations of the demo's trial, by the wall clock, evaluations not counted as "
        f"training; a synchronous save would wait {clocks['writer']:.2f} s more; after the last iteration it takes "
        f"{clocks['end']:.2f} s until all is kept"
    )
    return Outcome([clocks["loop"]], [seconds], unit="s", note=note)


class _Silent:
    """A run that nobody listens to."""

    def report(self, progress: dict[str, Any]) -> None:
        return None


def _clock(owner: type, name: str, clocks: dict[str, float], key_of: Callable[..., str]) -> None:
    """Have calls of a method add their seconds to the clock that ``key_of`` names by their arguments."""
    plain: Callable[..., Any] = getattr(owner, name)

    def timed(*arguments: Any) -> Any:
        before = time.perf_counter()
        try:
            return plain(*arguments)
        finally:
            clocks[key_of(*arguments)] += time.perf_counter() - before

    setattr(owner, name, timed)


ROWS = (
    Row(
        name="waiting",
        what="time that training waits for checkpoints and bookkeeping",
        against="the time of training itself",
        measure=_waiting,
        at_most=0.01,
    ),
)
