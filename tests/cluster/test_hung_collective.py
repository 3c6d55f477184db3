"""A worker that stops answering: the others end after the time-out, and the trial goes on with the same bits."""

import multiprocessing
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from raystudy.spec.plan import make_plan
from raystudy.store import Store
from tests.cluster.autoscaled import free_port
from tests.cluster.without_ray import FakeRun, HangingRun
from tests.models.workers import on_two_workers
from tests.segment_files import checkpoint_file
from tests.tiny_trials import results, settings, tiny_trial

pytestmark = pytest.mark.chaos

(SEGMENT,) = make_plan([tiny_trial(total=8, workers=2, images_per_worker=1)]).segments
TIMEOUT_S = 4


def _with_time_out(rank: int, port: int, folder: str, told: Any) -> None:
    from raystudy.cluster.process_group import join
    from raystudy.cluster.worker import run_segment

    join(f"127.0.0.1:{port}", rank, 2, "gloo", TIMEOUT_S)
    began = time.monotonic()
    try:
        run_segment(SEGMENT, settings(Path(folder)), HangingRun() if rank == 1 else FakeRun())
    except RuntimeError as error:
        told.put((str(error), time.monotonic() - began))


class SlowRun(FakeRun):
    """A straggler: the others wait for it again and again, each time for less than the time-out."""

    def report(self, progress: dict[str, Any]) -> None:
        """After a while."""
        time.sleep(0.5)


def _to_its_end(folder: str, straggles: bool, rank: int) -> dict[str, Any]:
    from raystudy.cluster.worker import run_segment

    run_segment(SEGMENT, settings(Path(folder)), SlowRun() if straggles and rank == 1 else FakeRun())
    return {"rank": rank}


def test_workers_of_one_that_hangs_end_and_the_trial_goes_on_also_with_a_straggler(
    tmp_path: Path,
) -> None:
    hung, undisturbed = str(tmp_path / "hung"), str(tmp_path / "undisturbed")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torchvision"])
    told, port = context.Queue(), free_port()
    workers = [context.Process(target=_with_time_out, args=(rank, port, hung, told)) for rank in range(2)]
    for worker in workers:
        worker.start()
    text, seconds = told.get(timeout=240)
    workers[1].kill()
    for worker in workers:
        worker.join(30)
    assert "imed out" in text or "timeout" in text.lower()
    assert seconds > TIMEOUT_S
    kept, other = (Store.open_unchecked(folder).segment(SEGMENT.segment_id) for folder in (hung, undisturbed))
    assert kept.checkpoints()[-1] == 4
    for folder in (hung, undisturbed):
        on_two_workers(partial(_to_its_end, folder, folder == hung))
    assert results(kept.rows()) == results(other.rows())
    one, two = (torch.load(checkpoint_file(store, 8), weights_only=True)["model"] for store in (kept, other))
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
