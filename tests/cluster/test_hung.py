"""A process that gets no more batches ends and says where it hung; who gets its node goes on with the same bits."""

import multiprocessing
import time
from pathlib import Path

import pytest
import torch

from raystudy.cluster.hung import EXIT_STATUS, ends_when_hung
from raystudy.data import pulse
from raystudy.spec.plan import make_plan
from raystudy.store import Store
from tests.cluster.without_ray import FakeRun, HangingRun
from tests.segment_files import checkpoint_file
from tests.tiny_trials import results, settings, tiny_trial

(SEGMENT,) = make_plan([tiny_trial(total=8)]).segments


def _ended(limit_s: float, beats: list[float]) -> list[int]:
    """With what status the process would have ended, when it beats after each of these pauses."""
    found: list[int] = []
    with ends_when_hung(limit_s, poll_s=0.01, end=found.append):
        for pause in beats:
            time.sleep(pause)
            pulse.beat()
        time.sleep(0.05)
    time.sleep(limit_s + 0.3)  # nobody is watched any more
    return found


def test_a_process_that_gets_its_batches_lives() -> None:
    assert _ended(1.0, [0.0] + [0.1] * 15) == []


def test_what_comes_before_the_first_batch_and_after_the_last_node_may_take_its_time() -> None:
    assert _ended(1.0, [1.2]) == []


def test_one_that_gets_no_more_ends_and_tells_where_it_hangs(caplog: pytest.LogCaptureFixture) -> None:
    assert _ended(0.2, [0.0, 1.0]) == [EXIT_STATUS]
    assert "no batch for 0.2 s" in caplog.text
    assert "in _ended\n    time.sleep(pause)" in caplog.text


def test_nobody_is_watched_where_that_is_not_wanted() -> None:
    assert _ended(0, [0.0, 0.3]) == []


def _hang(folder: str) -> None:
    from raystudy.cluster.worker import run_segment
    from raystudy.cluster.worker_log import kept_log

    given = settings(Path(folder))
    with kept_log(Store.open(given.storage), SEGMENT.segment_id, 0), ends_when_hung(2, poll_s=0.1):
        run_segment(SEGMENT, given, HangingRun())


@pytest.mark.chaos
def test_a_trial_of_one_worker_that_hung_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    from raystudy.cluster.worker import run_segment
    from raystudy.cluster.worker_log import last_lines

    process = multiprocessing.get_context("forkserver").Process(target=_hang, args=(str(tmp_path / "hung"),))
    process.start()
    process.join(200)
    assert process.exitcode == EXIT_STATUS
    kept, other = (Store.open(tmp_path / name, create=True).segment(SEGMENT.segment_id) for name in ("hung", "alone"))
    assert kept.checkpoints()[-1] == 4
    for name in ("hung", "alone"):
        run_segment(SEGMENT, settings(tmp_path / name), FakeRun())
    assert results(kept.rows()) == results(other.rows())
    one, two = (torch.load(checkpoint_file(store, 8), weights_only=True)["model"] for store in (kept, other))
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
    assert "    time.sleep(600)" in last_lines(Store.open(tmp_path / "hung"), SEGMENT.segment_id, 200)[0]
