"""The same points as TensorBoard event files, for those without Weights & Biases: `tensorboard --logdir FOLDER`."""

import json
import shutil
from collections.abc import Sequence

from tensorboardX import SummaryWriter

from raystudy.cluster.tracked_runs import AXIS, TrackedRun, points
from raystudy.records import Row, TrialState
from raystudy.store import Store


class TensorboardTracker:
    """One run as a folder of event files, with iterations on the horizontal axis.

    A process that takes a run up again is given all its rows, so that it writes them anew: nothing is there twice. They
    lie in the storage's folder ``tensorboard``; an object store is given them when the run ends.
    """

    def __init__(self, store: Store, run: TrackedRun) -> None:
        self._tracked, self._store = run, store
        self._last_iteration = 0
        self._folder = store.scratch / "tensorboard" / run.run_id
        shutil.rmtree(self._folder, ignore_errors=True)
        self._writer = SummaryWriter(str(self._folder))
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
        if not self._store.files.is_local:
            self._store.files.remove(f"tensorboard/{self._tracked.run_id}")
            self._store.files.upload(self._folder, f"tensorboard/{self._tracked.run_id}")
