"""The same points as TensorBoard event files, for those without Weights & Biases: `tensorboard --logdir FOLDER`."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from tensorboardX import SummaryWriter

from raystudy.cluster.tracked_runs import AXIS, TrackedRun, points
from raystudy.records import Row, TrialState


class TensorboardTracker:
    """One run as a folder of event files, with iterations on the horizontal axis.

    A process that takes a run up again is given all its rows, so that it writes them anew: nothing is there twice.
    """

    def __init__(self, folder: Path, run: TrackedRun) -> None:
        self._tracked = run
        self._last_iteration = 0
        place = folder / run.run_id
        shutil.rmtree(place, ignore_errors=True)
        self._writer = SummaryWriter(str(place))
        spec = json.dumps(dict(run.config), indent=1, default=str)
        self._writer.add_text("spec", f"```\n{spec}\n```", 0)

    def log(self, rows: Sequence[Row]) -> None:
        """Write committed rows; those that were given before are skipped."""
        for point in points([row for row in rows if row.iteration > self._last_iteration], self._tracked):
            self._last_iteration = point.pop(AXIS)
            for name, value in point.items():
                self._writer.add_scalar(name, value, self._last_iteration)
        self._writer.flush()

    def finish(self, state: TrialState, error: str = "") -> None:
        """Write how the run ended, and close its file."""
        self._writer.add_text("state", f"{state.value} {error}".strip(), self._last_iteration)
        self._writer.close()
