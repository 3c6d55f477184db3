"""One study: Tune over its plan."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from raystudy.cluster.connection import connection
from raystudy.cluster.ledger import pending_segments, settle
from raystudy.cluster.settings import RunSettings
from raystudy.cluster.spot import address_of_notices
from raystudy.cluster.tracked_runs import TrackedRun
from raystudy.cluster.worker_log import last_lines
from raystudy.errors import ClusterError
from raystudy.files import scratch
from raystudy.records import TrialRecord, TrialState
from raystudy.spec.plan import Plan, Segment
from raystudy.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from raystudy.cluster.gate import Gate
    from raystudy.cluster.search_searcher import SearchSearcher
    from raystudy.cluster.searcher import PlanSearcher


LINES_OF_FAILURE = 20
"""Kept of a worker's log when its segment is given up."""

MOST_NODES = 10_000
"""Side by side; how many they are is decided by the gate, from what the cluster has at that moment."""


def run_plan(
    plan: Plan,
    settings: RunSettings,
    tracked: Mapping[str, Sequence[TrackedRun]] | None = None,
    wanted: Collection[str] | None = None,
) -> dict[str, TrialRecord]:
    """Train what the storage does not hold yet; the records of all trials.

    Starts a local Ray when none is running and ``RAY_ADDRESS`` names none. Divergence and failure of a trial do not
    stop the others; they are in the records.

    Args:
        plan: what to train.
        settings: where and with what.
        tracked: the runs that Weights & Biases shows of each node of the plan, by its id.
        wanted: trials that are asked for; all of the plan when None.

    Raises:
        ClusterError: a segment can never fit the cluster; nothing has been started.
    """
    store = Store.open(settings.storage)
    segments = pending_segments(store, plan, wanted)
    failed: dict[str, str] = {}
    if segments:
        with connected(segments, settings) as settings, opened_gate(segments, settings) as gate:
            from raystudy.cluster.searcher import PlanSearcher

            searcher = PlanSearcher(plan, segments, settings, tracked or {}, gate)
            failed = tune(searcher, settings, nested=most_workers(segments, settings) > 1)
    for node_id in failed.keys() & {segment.segment_id for segment in segments}:
        _tell_given_up(store, node_id, failed[node_id])
    records = settle(store, plan)
    return {trial_id: with_failure(record, failed, store) for trial_id, record in records.items()}


def _tell_given_up(store: Store, segment_id: str, reason: str) -> None:
    """Keep why, with the last lines of the first worker, beside what else happened to the segment."""
    tail = last_lines(store, segment_id, LINES_OF_FAILURE).get(0, [])
    store.segment(segment_id).log("given up", error=reason, tail=tail)


def tune(searcher: "PlanSearcher | SearchSearcher", settings: RunSettings, *, nested: bool) -> dict[str, str]:
    """Run Tune until every node is done or given up; why nodes were given up.

    How many run side by side and how often one is tried is the searcher's; Tune does what it hands out.

    Args:
        searcher: hands out the nodes.
        settings: where and with what.
        nested: whether nodes run in groups of workers.

    Raises:
        ClusterError: the cluster became too small for a node, and stayed it.
    """
    import ray.tune

    from raystudy.cluster.driver import drive
    from raystudy.cluster.lost_trials import LostTrials

    tuner = ray.tune.Tuner(
        ray.tune.with_resources(drive, _driver_resources(settings, nested=nested)),
        tune_config=ray.tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=MOST_NODES,
            reuse_actors=True,
            trial_name_creator=lambda trial: str(trial.config["node_id"]),
            trial_dirname_creator=lambda trial: f"{trial.config['node_id']}_{trial.trial_id}",
        ),
        run_config=ray.tune.RunConfig(
            name=settings.study,
            storage_path=str(scratch(settings.storage) / ".ray" / "tune"),
            failure_config=ray.tune.FailureConfig(max_failures=0),
            callbacks=[LostTrials(searcher)],
            verbose=0,
        ),
    )
    try:
        results = tuner.fit()
    finally:
        searcher.close()
    if searcher.refusal is not None:
        raise searcher.refusal
    last = {str(r.config["node_id"]): _last_line(r.error) for r in results if r.error is not None and r.config}
    return {key: f"{reason}: {last[key]}" if key in last else reason for key, reason in searcher.failed.items()}


def _last_line(error: Exception) -> str:
    """What went wrong, without the traceback, which is in the log of the node."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


def _driver_resources(settings: RunSettings, *, nested: bool) -> dict[str, float]:
    """A single worker trains in Tune's process; otherwise that process only waits for its workers, on the head."""
    if nested:
        return {"node:__internal_head__": 0.001}
    return {"CPU": float(settings.threads), **({"GPU": 1.0} if settings.device == "cuda" else {})}


def opened_gate(segments: Sequence[Segment], settings: RunSettings) -> "AbstractContextManager[Gate]":
    """The gate through which nodes of these segments start.

    Raises:
        ClusterError: the largest can never fit, with the arithmetic.
    """
    from raystudy.cluster.gate import open_gate
    from raystudy.cluster.room import Group

    gpus = float(settings.device == "cuda")
    return open_gate(Group(most_workers(segments, settings), settings.threads, gpus), settings)


def most_workers(segments: Sequence[Segment], settings: RunSettings) -> int:
    """Of the largest node: of the segments, and of the pre-trainings that they wait for."""
    store = Store.open(settings.storage)
    inits = {segment.spec.init for segment in segments}
    recipes = [init.pretrain for init in inits if init.pretrain and not store.has_weights(init.weights_id)]
    return max([1, *(segment.spec.workers for segment in segments), *(recipe.workers for recipe in recipes)])


@contextmanager
def connected(segments: Sequence[Segment], settings: RunSettings) -> "Iterator[RunSettings]":
    """A connection to the running cluster, or a local one for as long as these segments need it.

    Yields the settings with the device that the cluster has.
    """
    with connection(nested=most_workers(segments, settings) > 1):
        yield settled(settings)


def settled(settings: RunSettings) -> RunSettings:
    """What follows from where the study runs: its device, and whom its machines ask whether they are taken back."""
    return dataclasses.replace(with_device(settings), notices=settings.notices or address_of_notices())


def with_device(settings: RunSettings) -> RunSettings:
    """``auto`` settled: cuda where a machine of the cluster has a GPU, or one that the autoscaler may add.

    Raises:
        ClusterError: there is no machine for trials yet, and nobody knows what those will have that come.
    """
    if settings.device != "auto":
        return settings
    from raystudy.cluster.machines import growth, machines_now

    coming = growth()
    machines = [*machines_now().total, *(coming.machines or () if coming is not None else ())]
    if coming is not None and coming.machines is None and not any(machine.get("CPU", 0) for machine in machines):
        raise ClusterError("the cluster has no machine for trials yet: say what those will have with --device")
    has_gpu = any(machine.get("GPU", 0) for machine in machines)
    return dataclasses.replace(settings, device="cuda" if has_gpu else "cpu")


def with_failure(record: TrialRecord, failed: dict[str, str], store: Store) -> TrialRecord:
    """A trial that stands still because a node of its path was given up is FAILED."""
    if record.state in (TrialState.COMPLETE, TrialState.DIVERGED, TrialState.FAILED):
        return record
    reasons = [failed[ref.segment_id] for ref in record.segments if ref.segment_id in failed]
    if not reasons:
        return record
    changed = dataclasses.replace(record, state=TrialState.FAILED, error=reasons[0])
    store.write_trial(changed)
    return changed
