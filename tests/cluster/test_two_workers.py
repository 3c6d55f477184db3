"""Two workers in one process group, without Ray: shared trunks, resume and SyncBN keep their bits there too."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from raystudy.cluster.ledger import read_trial
from raystudy.spec.model import CascadeSpec
from raystudy.spec.plan import Plan, make_plan
from raystudy.store import Store
from tests.cluster.without_ray import FakeRun, KilledError
from tests.models.workers import on_two_workers
from tests.tiny_trials import results, settings, tiny_trial

TWO: dict[str, Any] = {"workers": 2, "images_per_worker": 1}
SWITCHED: dict[str, Any] = {**TWO, "model.cascade": CascadeSpec(final_iterations=6)}
TRIALS = {
    "gn": [tiny_trial(total, **TWO) for total in (6, 10)],
    "sync_bn": [tiny_trial(total, **{**TWO, "model.norm": "sync_bn"}) for total in (6, 10)],
    "cascade": [
        tiny_trial(10, 2, **TWO),
        tiny_trial(10, 2, **SWITCHED),
        tiny_trial(10, 2, **{**SWITCHED, "evaluation.flip": True}),
    ],
}


def _train(folder: str, name: str, share: bool, die_at: int, rank: int) -> dict[str, Any]:
    """All segments of the plan, on this rank; with ``die_at`` both ranks die there in each and go on after."""
    from raystudy.cluster.worker import run_segment

    plan, given = make_plan(TRIALS[name], share=share), settings(Path(folder))
    for segment in plan.segments:
        if segment.start < die_at < segment.end:
            with pytest.raises(KilledError):
                run_segment(segment, given, FakeRun(die_at))
        run_segment(segment, given, FakeRun())
    return {"rank": rank}


def _results(folder: Path, plan: Plan) -> dict[str, tuple[list[dict[str, str]], dict[str, torch.Tensor]]]:
    store, found = Store.open(folder), {}
    for trial_id in plan.trials:
        record = read_trial(store, plan, trial_id)
        last = next(ref for ref in reversed(record.segments) if not ref.is_evaluation)
        state = torch.load(store.segment(last.segment_id).load(last.end) / "state.pt", weights_only=True)
        found[trial_id] = (results(store.trial_rows(record), but=("segment_id",)), state["model"])
    return found


@pytest.mark.parametrize(("name", "die_at"), [("gn", 4), ("sync_bn", 4), ("cascade", 6)])
def test_on_two_workers_shared_and_resumed_trials_have_the_bits_of_trials_alone(
    tmp_path: Path, name: str, die_at: int
) -> None:
    naive, shared = make_plan(TRIALS[name], share=False), make_plan(TRIALS[name])
    on_two_workers(partial(_train, str(tmp_path / "naive"), name, False, 0))
    on_two_workers(partial(_train, str(tmp_path / "shared"), name, True, die_at))
    alone, together = _results(tmp_path / "naive", naive), _results(tmp_path / "shared", shared)
    for trial_id, (rows, weights) in alone.items():
        assert together[trial_id][0] == rows
        assert {row["workers"] for row in rows} == {"2"}
        assert {row["global_batch"] for row in rows} == {"2"}
        other = together[trial_id][1]
        assert [name for name in weights if not torch.equal(weights[name], other[name])] == []
