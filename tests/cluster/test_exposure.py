"""Measured exposure against a count by hand: from the order of the pictures and the annotations as they lie on disk."""

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from raystudy.cluster.ledger import read_trial
from raystudy.data.loader import TrainLoader
from raystudy.data.shapes import render_shapes
from raystudy.data.splits import open_split
from raystudy.data.subset import statistics_of
from raystudy.spec.plan import make_plan
from raystudy.spec.trial import TrialSpec
from raystudy.store import Store
from tests.cluster.without_ray import FakeRun, KilledError
from tests.models.workers import on_two_workers
from tests.tiny_trials import settings, tiny_trial

DIES_AT = 4


def _trials(workers: int) -> list[TrialSpec]:
    """A trunk and two branches, of pictures of several sizes: a row for every iteration, a fork at 2 and at 6."""
    changes = {"workers": workers, "images_per_worker": 2 // workers, "input.train_short_sides": (48, 64), "seed": 5}
    return [tiny_trial(total=total, log_interval=1, **changes) for total in (6, 10)]


def _train(folder: str, workers: int, rank: int) -> dict[str, Any]:
    """All segments of the plan, on this rank; each that passes ``DIES_AT`` is killed there and goes on after."""
    from raystudy.cluster.worker import run_segment

    given = settings(Path(folder))
    for segment in make_plan(_trials(workers)).segments:
        if segment.start < DIES_AT < segment.end:
            with pytest.raises(KilledError):
                run_segment(segment, given, FakeRun(DIES_AT))
        run_segment(segment, given, FakeRun())
    return {"rank": rank}


def _counted(trial: TrialSpec) -> list[tuple[int, int, int, int]]:
    """Images, instances, nominal and fed pixels after each iteration: the whole batch, on one rank."""
    assert trial.data.shapes is not None
    content = json.loads((render_shapes(trial.data.shapes) / "instances_train.json").read_text())
    instances_of = Counter(annotation["image_id"] for annotation in content["annotations"])
    loader = TrainLoader(open_split(trial.data, "train"), trial, rank=0, world=1)
    found, images, instances, pixels = [], 0, 0, 0
    for batch in loader.batches(0, trial.schedule.total):
        images += trial.global_batch
        instances += sum(instances_of[image_id] for image_id in batch.image_ids)
        pixels += sum(height * width for height, width in batch.sizes)
        found.append((images, instances, images * 800 * 1333, pixels))
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_exposure_is_a_count_by_hand_across_a_fork_and_a_resume(tmp_path: Path, workers: int) -> None:
    if workers == 1:
        _train(str(tmp_path), 1, 0)
    else:
        on_two_workers(partial(_train, str(tmp_path), 2))
    trials = _trials(workers)
    plan, store = make_plan(trials), Store.open(tmp_path)
    assert [segment.kind for segment in plan.segments] == ["trunk", "branch", "branch"]
    for trial in trials:
        record = read_trial(store, plan, trial.trial_id)
        assert len(record.segments) == 2
        counted = _counted(trial)
        assert len({pixels for *_, pixels in counted}) == trial.schedule.total
        rows = store.trial_rows(record)
        assert [row.iteration for row in rows if row.split == "train"] == list(range(1, trial.schedule.total + 1))
        for row in rows:
            seen = (row.images, row.instances, row.pixels_nominal, row.pixels_measured)
            assert seen == counted[row.iteration - 1]
    told = store.segment(plan.segments[-1].segment_id).result()
    assert told is not None
    held = statistics_of(open_split(trials[0].data, "train"))
    assert told["repairs"]["train"] == held.pop("repairs")
    assert told["data"]["train"] == held
    assert told["data"]["val"]["images"] == 4
    attempts = [store.segment(s.segment_id).newest_attempt() for s in plan.segments]
    assert sorted(attempts) == [1, 2, 2]
