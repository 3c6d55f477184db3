"""Under which ids a storage's runs stand in Weights & Biases.

W&B keeps the id of a deleted run for itself (for 7 days at least), so runs that are built anew need new ids: a storage
counts, for each project, how often its runs were built. The first ones bear the trials' own ids.

    STORAGE/tracking/<project>.json    {"generation": 2, "replaced": [1]}     replaced ones that may still have runs
"""

from collections.abc import Sequence
from typing import Any

from raystudy.cluster.tracked_runs import TrackedRun
from raystudy.store import Store


def generation(store: Store | None, project: str) -> int:
    """How often the storage's runs were built in the project; 1 when only once."""
    return int(_read(store, project)["generation"]) if store is not None else 1


def replaced_generations(store: Store, project: str) -> list[int]:
    """Those whose runs are still to be deleted."""
    return [int(number) for number in _read(store, project)["replaced"]]


def begin_generation(store: Store, project: str) -> None:
    """From now on runs bear new ids, and those of all generations before are to be deleted."""
    known = _read(store, project)
    _write(store, project, known["generation"] + 1, [*known["replaced"], known["generation"]])


def forget_replaced(store: Store, project: str) -> None:
    """The runs of all earlier generations are gone."""
    _write(store, project, generation(store, project), [])


def wandb_id(run: TrackedRun, number: int) -> str:
    """The id that a run has in W&B."""
    return run.run_id if number == 1 else f"{run.run_id}-r{number}"


def _read(store: Store, project: str) -> dict[str, Any]:
    found: dict[str, Any] | None = store.files.read_json(f"tracking/{project}.json")
    return {"generation": 1, "replaced": []} if found is None else found


def _write(store: Store, project: str, number: int, replaced: Sequence[int]) -> None:
    store.files.write_json(f"tracking/{project}.json", {"generation": number, "replaced": list(replaced)})
