"""Running a study from Python: what the command line does, as functions."""

import dataclasses
import subprocess
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raystudy.cluster.dashboard import dashboard_address
from raystudy.cluster.ledger import pending_segments, reopen
from raystudy.cluster.preflight import preflight
from raystudy.cluster.settings import RunSettings, study_device
from raystudy.cluster.tracked_runs import tracked_runs
from raystudy.cluster.tuner import run_plan
from raystudy.cluster.weights import adopt_weights
from raystudy.console import make_console
from raystudy.files import storage_location
from raystudy.live_view import LiveView
from raystudy.records import TrialRecord, TrialState
from raystudy.spec.plan import Plan, make_plan
from raystudy.spec.study import StudySpec
from raystudy.store import Store

if TYPE_CHECKING:
    from analysis.load import StudyTable


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run of a study left behind."""

    study: str
    plan: Plan
    records: dict[str, TrialRecord]
    storage: str

    @property
    def is_complete(self) -> bool:
        """Whether every trial has its result; divergence is one."""
        return all(record.state in (TrialState.COMPLETE, TrialState.DIVERGED) for record in self.records.values())


def run(
    study: StudySpec,
    settings: RunSettings | str | Path,
    *,
    share: bool = True,
    wanted: Collection[str] | None = None,
    price_per_hour: float | None = None,
) -> Outcome:
    """Run a study to its end, from wherever its storage says that it stands.

    Running it again trains only what is missing; two studies in one storage share the trials and trunks they have in
    common.

    Args:
        study: what to train.
        settings: where and with what; a path alone is the storage, with a GPU for each worker where there are some.
        share: False trains every trial alone, to prove that sharing trunks changes nothing.
        wanted: ids of the trials to train now; all of the study when None. Forks of the others stay possible.
        price_per_hour: of one device, to show what it has cost while it runs.

    Raises:
        RaystudyError: the study, its data, its storage or the cluster cannot do it; nothing has been started.
    """
    if not isinstance(settings, RunSettings):
        storage = storage_location(settings)
        settings = RunSettings(storage=storage, study=study.name, device=study_device())
    plan = make_plan(study.trials(), share=share)
    preflight(plan, settings)
    store = Store.open(settings.storage, create=True)
    record = study_record(study, plan)
    store.write_study(study.name, record)
    tracked = tracked_runs(record, plan) if settings.tracking or settings.tensorboard else {}
    console = make_console()
    for init in {trial.init for trial in plan.trials.values() if trial.init.weights_file}:
        adopt_weights(store, init)
    if settings.retry_failed:
        reopen(store, plan)
    pending = pending_segments(store, plan, wanted)
    shown = plan.segments if wanted is None else pending
    with (
        LiveView(store, shown, console, price_per_hour=price_per_hour, dashboard=dashboard_address)
        if pending
        else nullcontext()
    ):
        records = run_plan(plan, settings, tracked, wanted)
    return Outcome(study=study.name, plan=plan, records=records, storage=settings.storage)


def load(storage: str | Path, study: str) -> "StudyTable":
    """A study's rows and trials as pandas tables, checked: what its report is made of.

    Args:
        storage: where it was run.
        study: its name.

    Raises:
        RaystudyError: there is no such study, or its rows have a hole, a duplicate or another schema.
    """
    from analysis.load import load_study

    return load_study(str(storage), study)


def study_record(study: StudySpec, plan: Plan) -> dict[str, Any]:
    """What the storage keeps of a study: its spec, its trials by id with their levels, versions and commit."""
    levels = {trial.trial_id: names for names, trial in study.cells()}
    return {
        "name": study.name,
        "question": study.question,
        "preset": study.preset,
        "unit": study.unit,
        "axes": [{"name": axis.name, "levels": [level.name for level in axis.levels]} for axis in study.axes],
        "trials": {trial_id: trial.to_dict() for trial_id, trial in plan.trials.items()},
        "levels": levels,
        "paths": {trial_id: [dataclasses.asdict(ref) for ref in path] for trial_id, path in plan.paths.items()},
        "spec": study.to_dict(),
        "iterations": {"naive": plan.naive_iterations, "shared": plan.shared_iterations},
        "commit": commit(),
    }


def commit() -> str:
    """The commit of this raystudy: kept when it was built (``setup.py``), else its checkout's; else ``unknown``."""
    package = Path(__file__).resolve().parent
    kept, folder = package / "commit.txt", package.parent
    if kept.is_file():
        return kept.read_text().strip()
    if not (folder / ".git").exists():  # some other repository may be above
        return "unknown"
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
