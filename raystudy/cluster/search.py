"""One hyper-parameter search, from wherever its storage says that it stands."""

import dataclasses
from collections.abc import Callable, Sequence

from raystudy.cluster.connection import prepare_environment
from raystudy.cluster.preflight import preflight
from raystudy.cluster.settings import RunSettings
from raystudy.cluster.tuner import connected, most_workers, opened_gate, tune
from raystudy.cluster.weights import adopt_weights
from raystudy.errors import SpecError
from raystudy.search_records import SearchRecord, SearchTrial
from raystudy.spec.plan import Plan, make_plan
from raystudy.spec.search import SearchSpec
from raystudy.store import Store

DECIDES = ("parameters", "generation", "startup", "rungs", "min_values", "keep", "metric", "seed")
"""What suggestions and pruning follow from: it stays when a search goes on. Trials say themselves what they are."""


def run_search(
    search: SearchSpec,
    settings: RunSettings,
    *,
    commit: str = "",
    tell: Callable[[Sequence[SearchTrial]], None] = lambda trials: None,
) -> SearchRecord:
    """Search every arm to the end of its budget; the record, as the storage has it too.

    Started again, it suggests and trains only what is missing, and ends as it would have without the interruption.

    Args:
        search: what to search.
        settings: where and with what; ``settings.study`` is the search's name.
        commit: of this raystudy, for the record.
        tell: called with the trials that are new or have changed.

    Raises:
        RaystudyError: the search, its data or the cluster cannot do it; nothing has been started.
    """
    store, record = prepare_search(search, settings, commit)
    prepare_environment()
    from raystudy.cluster.sampling import IMPORTANCE_METHOD, SearchView, importances
    from raystudy.cluster.search_searcher import SearchSearcher

    view = SearchView(search, database_url(store, search.name))

    def keep(now: SearchRecord, changed: Sequence[SearchTrial]) -> None:
        store.write_search(now)
        view.show(now.trials)
        tell(changed)

    view.show(record.trials)
    searcher = SearchSearcher(search, record, settings, keep)
    if not searcher.is_finished:
        segments = edge_plan(search).segments
        with connected(segments, settings) as settled, opened_gate(segments, settled) as gate:
            searcher.start(settled, gate)
            tune(searcher, settled, nested=most_workers(segments, settled) > 1)
    shares = {arm.name: importances(search, arm.name, searcher.record.of_arm(arm.name)) for arm in search.arms}
    best = {arm.name: searcher.record.best_trial(arm.name) for arm in search.arms}
    record = dataclasses.replace(
        searcher.record,
        importances=shares,
        importance_method=IMPORTANCE_METHOD,
        best={arm: trial.number for arm, trial in best.items() if trial is not None},
    )
    store.write_search(record)
    view.close()
    store.files.upload(store.search_folder(search.name), f"searches/{search.name}")
    return record


def prepare_search(search: SearchSpec, settings: RunSettings, commit: str = "") -> tuple[Store, SearchRecord]:
    """Check everything that can be checked, and take up the search where the storage has it.

    Raises:
        SpecError: with every problem found.
    """
    search.checked()
    plan = edge_plan(search)
    preflight(plan, settings)
    store = Store.open(settings.storage, create=True)
    known = store.read_search(search.name)
    if known is not None:
        _check_same(known, search)
    for init in {trial.init for trial in plan.trials.values() if trial.init.weights_file}:
        adopt_weights(store, init)
    spec = search.to_dict()
    record = SearchRecord(name=search.name, spec=spec, commit=commit) if known is None else known
    return store, dataclasses.replace(record, spec=spec)


def edge_plan(search: SearchSpec) -> Plan:
    """Trials at the edges of the space, as a plan: what data, weights and resources any of them may need."""
    return make_plan(trial for arm in search.arms for trial in search.corners(arm.name))


def database_url(store: Store, name: str) -> str:
    """Of the database that ``optuna-dashboard`` opens."""
    folder = store.search_folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'optuna.db'}"


def _check_same(known: SearchRecord, search: SearchSpec) -> None:
    before, now = known.spec, search.to_dict()
    problems = [
        f"{name} is {now[name]!r}, but was {before[name]!r}" for name in DECIDES if now[name] != before.get(name)
    ]
    problems += _changed_trials(known, search)
    if problems:
        raise SpecError(
            [f"the storage has a search {search.name!r} that is another one: {problem}" for problem in problems]
            + ["give this search another name, or another --storage"]
        )


def _changed_trials(known: SearchRecord, search: SearchSpec) -> list[str]:
    """Trials that the storage has, and that the search would train otherwise."""
    found = []
    for trial in known.trials:
        if trial.arm not in {arm.name for arm in search.arms}:
            found.append(f"it has the arm {trial.arm}")
        elif search.trial(trial.arm, trial.values).trial_id != trial.trial_id:
            found.append(f"trial {trial.number} of arm {trial.arm} was {trial.trial_id}")
    return list(dict.fromkeys(found))[:5]
