"""TensorBoard shows the same points, each once, also after a restart."""

import math
import struct
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event

from raystudy.cluster.tensorboard import TensorboardTracker
from raystudy.cluster.tracked_runs import points
from raystudy.cluster.tracking import Tracker, open_tracker
from raystudy.records import TrialState
from raystudy.store import Store
from tests.cluster.test_tracking import branch_of_2x


def scalars(folder: Path) -> dict[tuple[str, int], float]:
    """Every scalar by tag and iteration; fails on one that is there twice. Records are length, crc, data, crc."""
    found: dict[tuple[str, int], float] = {}
    for path in sorted(folder.glob("events.*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            content = content[12 + length + 4 :]
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    assert (value.tag, event.step) not in found
                    found[value.tag, event.step] = value.simple_value
    return found


def test_points_are_there_once_also_after_a_restart(tmp_path: Path) -> None:
    run, rows = branch_of_2x()
    store = Store.open(tmp_path, create=True)
    tracker: Tracker = TensorboardTracker(store, run)
    tracker.log([row for row in rows if row.iteration <= 20])  # and the process dies
    assert max(step for _, step in scalars(tmp_path / "tensorboard" / run.run_id)) == 20

    tracker = open_tracker(None, [run], store, tensorboard=True)
    for end in (20, 35, 40):
        tracker.log([row for row in rows if row.iteration <= end])
    tracker.finish(TrialState.COMPLETE)
    written = scalars(tmp_path / "tensorboard" / run.run_id)
    expected = {
        (name, point["iteration"]): value
        for point in points(rows, run)
        for name, value in point.items()
        if name != "iteration"
    }
    assert set(written) == set(expected)
    assert all(math.isclose(written[key], value, rel_tol=1e-6) for key, value in expected.items())  # kept in float32


def test_a_folder_that_cannot_be_written_does_not_stop_the_trial(tmp_path: Path) -> None:
    store = Store.open(tmp_path, create=True)
    (tmp_path / "tensorboard").write_text("in the way")
    run, rows = branch_of_2x()
    tracker = open_tracker(None, [run], store, tensorboard=True)
    tracker.log(rows)
    tracker.finish(TrialState.COMPLETE)
