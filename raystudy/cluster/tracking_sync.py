"""Bring to Weights & Biases what it does not have yet of a storage: after an outage, or after training offline.

Rows come from the storage, not from wandb's own files, and the server says how far it has got. So nothing is lost or
sent twice, however many processes have worked on a run and whatever they left on their disks.
"""

from collections.abc import Iterator

import wandb
from wandb.apis.public.runs import RunNotFoundError
from wandb.sdk.lib.service.service_connection import WandbApiFailedError

from raystudy.cluster.ledger import read_trial
from raystudy.cluster.tracked_runs import TrackedRun, tracked_runs, with_provenance
from raystudy.cluster.tracking import TrackingSettings
from raystudy.cluster.tracking_generations import begin_generation, forget_replaced, replaced_generations, wandb_id
from raystudy.cluster.tracking_wandb import upload
from raystudy.errors import TrackingError
from raystudy.records import Row, TrialState
from raystudy.spec.plan import stored_plan
from raystudy.store import Store

_ENDED = (TrialState.COMPLETE, TrialState.DIVERGED, TrialState.FAILED)


def sync_study(store: Store, study: str, settings: TrackingSettings) -> Iterator[tuple[str, int]]:
    """Upload the study's runs that have ended; each run's id and how many points were new.

    What is still being trained is left to its own process.

    Raises:
        TrackingError: the server cannot be reached; what was uploaded so far stays, and calling again goes on.
    """
    for run, rows, state, error in ended_runs(store, study):
        yield run.run_id, upload(settings, run, rows, state, error, store)


def begin_rebuild(store: Store, settings: TrackingSettings) -> None:
    """Let the next sync build all runs of the storage anew, and ``delete_replaced`` take the old ones away.

    Runs cannot be emptied, and the id of a deleted one is refused for days, so the new ones have ids of their own.
    """
    begin_generation(store, settings.project)


def delete_replaced(store: Store, settings: TrackingSettings) -> Iterator[str]:
    """Delete the runs that a rebuild has replaced, once the new ones are there; their ids.

    A run that has not ended is left alone: its process may still feed it. A later call takes it.

    Raises:
        TrackingError: the server cannot be reached or does not allow it; calling again goes on.
    """
    numbers = replaced_generations(store, settings.project)
    if not numbers:
        return
    owner = f"{settings.entity}/" if settings.entity else ""
    studies = store.study_names()
    known = {run.run_id for study in studies for run in all_runs(store, study)}
    ended = {run.run_id: run for study in studies for run, *_ in ended_runs(store, study)}
    try:
        api = wandb.Api()
        for identity in (wandb_id(run, number) for run in ended.values() for number in numbers):
            if _delete(api, f"{owner}{settings.project}/{identity}"):
                yield identity
    except (wandb.Error, WandbApiFailedError) as problem:
        raise TrackingError(
            f"the runs that were replaced could not all be deleted: {problem}; call wandb-sync again, or delete them "
            "in the browser"
        ) from problem
    if known == set(ended):
        forget_replaced(store, settings.project)


def _delete(api: wandb.Api, path: str) -> bool:
    """Whether there was such a run."""
    try:
        api.run(path).delete()
    except wandb.errors.CommError as problem:
        if isinstance(problem.exc, RunNotFoundError):
            return False
        raise
    return True


def ended_runs(store: Store, study: str) -> Iterator[tuple[TrackedRun, list[Row], TrialState, str]]:
    """Runs that nothing works on any more: pre-trainings, trunks, trials; run, rows, state, error."""
    content = store.read_study(study)
    plan = stored_plan(content)
    for run in all_runs(store, study):
        if run.job_type == "pretrain":
            if store.has_weights(run.run_id):
                yield run, [], TrialState.COMPLETE, ""
            continue
        result = store.segment(run.last_segment).result()
        made = (
            with_provenance(run, result["provenance"], result["device"]) if result and "provenance" in result else run
        )
        if run.job_type == "trunk":
            if result is not None and result["state"] in _ENDED:
                state, error = TrialState(result["state"]), str(result["error"])
                yield made, store.segment(run.segment_id).rows(), state, error
            continue
        record = read_trial(store, plan, run.run_id)
        if record.state in _ENDED:
            yield made, store.trial_rows(record), record.state, record.error


def all_runs(store: Store, study: str) -> Iterator[TrackedRun]:
    """Every run that the study has or will have."""
    content = store.read_study(study)
    plan = stored_plan(content)
    fed = tracked_runs(content, plan)
    for node in (*plan.pretrainings, *(segment.segment_id for segment in plan.segments)):
        yield from fed[node]
