"""Bring to Weights & Biases what it does not have yet of a storage: after an outage, or after training offline.

Rows come from the storage, not from wandb's own files, and the server says how far it has got. So nothing is lost or
sent twice, however many processes have worked on a run and whatever they left on their disks.
"""

from collections.abc import Iterator

from raystudy.cluster.ledger import read_trial
from raystudy.cluster.tracked_runs import TrackedRun, trial_run, trunk_run
from raystudy.cluster.tracking import TrackingSettings, upload
from raystudy.records import Row, TrialState
from raystudy.spec.plan import stored_plan
from raystudy.store import Store

_ENDED = (TrialState.COMPLETE, TrialState.DIVERGED, TrialState.FAILED)


def sync_study(store: Store, study: str, settings: TrackingSettings) -> Iterator[tuple[str, int]]:
    """Upload the study's trials and trunks that have ended; each run's id and how many points were new.

    What is still being trained is left to its own process.

    Raises:
        TrackingError: the server cannot be reached; what was uploaded so far stays, and calling again goes on.
    """
    for run, rows, state, error in ended_runs(store, study):
        yield run.run_id, upload(settings, run, rows, state, error)


def ended_runs(store: Store, study: str) -> Iterator[tuple[TrackedRun, list[Row], TrialState, str]]:
    """Trials and trunks that nothing works on any more: run, rows, state, error."""
    content = store.read_study(study)
    plan, levels = stored_plan(content), content["levels"]
    for segment in plan.segments:
        result = store.segment(segment.segment_id).result()
        if segment.kind == "trunk" and result is not None and result["state"] in _ENDED:
            run = trunk_run(study, segment, plan, levels)
            yield run, store.segment(segment.segment_id).rows(), TrialState(result["state"]), str(result["error"])
    for trial_id in plan.trials:
        record = read_trial(store, plan, trial_id)
        if record.state in _ENDED:
            run = trial_run(study, trial_id, plan, levels.get(trial_id, {}))
            yield run, store.trial_rows(record), record.state, record.error
