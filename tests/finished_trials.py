"""Storages with complete trials: one that was trained, others whose weights are put there."""

import dataclasses
from pathlib import Path

from torch import nn

from raystudy.cluster.ledger import settle
from raystudy.finished import FinishedTrial, find_finished
from raystudy.records import EvalRow, SegmentRef, TrialRecord, TrialState
from raystudy.spec.plan import make_plan
from raystudy.spec.trial import TrialSpec
from raystudy.store import Store
from raystudy.training.state import Snapshot
from tests.cluster.without_ray import run_here
from tests.tiny_trials import tiny_trial


def trained(folder: Path, **overrides: object) -> FinishedTrial:
    """A trial of four iterations, trained here."""
    plan = make_plan([tiny_trial(total=4, before_end=2, **overrides)])
    run_here(plan, folder)
    store = Store.open(folder)
    settle(store, plan)
    (trial_id,) = plan.trials
    return find_finished(store, trial_id)


def placed(store: Store, spec: TrialSpec, model: nn.Module, state: TrialState = TrialState.COMPLETE) -> TrialRecord:
    """The record of a trial whose weights are those of ``model``; nothing is trained."""
    total, trial_id = spec.schedule.total, spec.trial_id
    kept = store.segment(f"{trial_id}-segment")
    attempt = kept.begin_attempt().number
    row = EvalRow(
        segment_id=kept.segment_id, iteration=total, lr=0.1, global_batch=2, workers=1, loss=1.0, images=2 * total
    )
    kept.commit(attempt, total, Snapshot({"model": model.state_dict()}).save, [row])
    record = TrialRecord(
        trial_id=trial_id,
        spec=spec.to_dict(),
        segments=(SegmentRef(segment_id=kept.segment_id, start=0, end=total),),
        state=state,
        iteration=total,
        metrics={"box_ap": 12.5},
    )
    store.write_trial(record)
    return record


def waiting(store: Store, spec: TrialSpec) -> TrialRecord:
    """The record of a trial that has not begun."""
    record = dataclasses.replace(placed(store, spec, nn.Linear(1, 1)), state=TrialState.WAITING, iteration=0)
    store.write_trial(record)
    return record
