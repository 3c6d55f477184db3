"""How far the trials of a storage are as JSON, for programs: what `raystudy status --json` prints."""

from collections.abc import Mapping, Sequence
from typing import Any

from raystudy.errors import RaystudyError
from raystudy.records import TrialRecord
from raystudy.search_records import SearchRecord
from raystudy.store import Store


def status_content(
    storage: str, store: Store, found: Mapping[str, list[TrialRecord] | RaystudyError], searches: Sequence[str]
) -> dict[str, Any]:
    """Everything that `raystudy status` tells.

    Args:
        storage: as it was named.
        store: the same, opened.
        found: by study, its trials as they are now, or why they cannot be told.
        searches: names of those that are asked about.
    """
    records = ((name, store.read_search(name)) for name in searches)
    return {
        "storage": storage,
        "studies": [{"study": name, **_study(trials)} for name, trials in found.items()],
        "searches": [{"search": name, **_search(record)} for name, record in records if record is not None],
    }


def _study(found: list[TrialRecord] | RaystudyError) -> dict[str, Any]:
    if isinstance(found, RaystudyError):
        return {"problem": str(found), "trials": []}
    return {"problem": None, "trials": [_trial(record) for record in found]}


def _trial(record: TrialRecord) -> dict[str, Any]:
    return {
        "trial_id": record.trial_id,
        "state": record.state.value,
        "iteration": record.iteration,
        "total": record.spec["schedule"]["total"],
        "metrics": record.metrics,
        "error": record.error,
    }


def _search(record: SearchRecord) -> dict[str, Any]:
    names = ("arm", "number", "trial_id", "values", "iteration", "total", "value", "error")
    trials = [{**{name: getattr(one, name) for name in names}, "state": one.state.value} for one in record.trials]
    return {"best": record.best, "trials": trials}
