"""What a hyper-parameter search found, from its record: the budget of each arm, what mattered, and every trial.

Only complete trials have a value. One that was pruned has what it had at its last rung, which is shown as such and
never compared with a value at the end.
"""

from collections.abc import Mapping, Sequence

from analysis.files import StorageReader
from analysis.tables import Table, number
from raystudy.search_records import SearchRecord, SearchState, SearchTrial

FEW = 50
"""Complete trials below which a table of importance says that it rests on few: the best tenth is fewer than 5 then."""


def load_search(storage: str, name: str) -> SearchRecord | None:
    """The record of a search; None when the storage has none of that name."""
    content = StorageReader(storage).read_json(f"searches/{name}.json")
    return None if content is None else SearchRecord.from_dict(content)


def search_tables(record: SearchRecord) -> dict[str, Table]:
    """All tables of a search, by name."""
    tables = [budget_table(record), best_table(record), importance_table(record), trials_table(record)]
    return {table.name: table for table in tables if table.lines}


def arms(record: SearchRecord) -> list[str]:
    """The arms in the order of the search."""
    return list(dict.fromkeys(trial.arm for trial in record.trials))


def metric_name(record: SearchRecord) -> str:
    """For people."""
    return str(record.spec["metric"]).replace("_ap", " AP")


def budget_table(record: SearchRecord) -> Table:
    """Trials and iterations that each arm was given and took."""
    states = (SearchState.COMPLETE, SearchState.PRUNED, SearchState.DIVERGED, SearchState.FAILED)
    lines = []
    for arm in arms(record):
        trials = record.of_arm(arm)
        counts = [sum(trial.state == state for trial in trials) for state in states]
        whole = sum(trial.total for trial in trials)
        done = sum(trial.iteration for trial in trials)
        lines.append(
            (arm, str(len(trials)), *map(str, counts), f"{record.trained_iterations(arm):,}", f"{done:,}", f"{whole:,}")
        )
    return Table(
        name="search_budget",
        title="What each arm was given",
        header=("arm", "trials", *(state.value for state in states), "iterations trained", "of trials", "unpruned"),
        lines=lines,
        note="Iterations trained count a trunk that trials share once; unpruned is what all trials would have taken "
        "to their ends.",
    )


def best_table(record: SearchRecord) -> Table:
    """The best complete trial of each arm, with its values."""
    names = [parameter["name"] for parameter in record.spec["parameters"]]
    lines = []
    for arm in arms(record):
        best = record.best_trial(arm)
        if best is not None and best.value is not None:
            lines.append((arm, number(best.value), str(best.number), *(text(best.values[name]) for name in names)))
    return Table(
        name="search_best",
        title="The best trial of each arm",
        header=("arm", metric_name(record), "number", *names),
        lines=lines,
        note="The best of many trials on the pictures that they were chosen by: too good by some. "
        "Run it with fresh seeds before it is compared.",
    )


def importance_table(record: SearchRecord) -> Table:
    """Share of each parameter in what made complete trials good."""
    names = [parameter["name"] for parameter in record.spec["parameters"]]
    known = {arm: shares for arm, shares in record.importances.items() if shares}
    lines = [(name, *(f"{shares.get(name, 0.0):.0%}" for shares in known.values())) for name in names]
    counts = {arm: len(_complete(record.of_arm(arm))) for arm in known}
    few = [f"{arm} {count}" for arm, count in counts.items() if count < FEW]
    return Table(
        name="search_importance",
        title=f"What mattered ({record.importance_method})",
        header=("parameter", *known),
        lines=lines if known else [],
        note="Of complete trials only."
        + (f" They are few, so that it may be chance: {', '.join(few)}." if few else ""),
    )


def trials_table(record: SearchRecord) -> Table:
    """Every trial as it was suggested."""
    names = [parameter["name"] for parameter in record.spec["parameters"]]
    lines = [
        (
            f"{trial.arm} {trial.number}",
            trial.state.value,
            f"{trial.iteration:,}",
            "–" if trial.value is None else number(trial.value),
            ", ".join(f"{number(value)} at {int(rung):,}" for rung, value in sorted_rungs(trial)) or "–",
            *(text(trial.values[name]) for name in names),
        )
        for arm in arms(record)
        for trial in record.of_arm(arm)
    ]
    header = ("trial", "state", "iterations", metric_name(record), "at rungs", *names)
    return Table(name="search_trials", title="Every trial", header=header, lines=lines)


def sorted_rungs(trial: SearchTrial) -> list[tuple[str, float]]:
    """(rung, value) by rung."""
    return sorted(trial.at_rungs.items(), key=lambda item: int(item[0]))


def text(value: object) -> str:
    """A parameter's value."""
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def slices(record: SearchRecord) -> dict[str, dict[str, list[tuple[float | str, float]]]]:
    """Parameter -> arm -> (value of the parameter, metric at the end) of each complete trial."""
    names: Sequence[str] = [parameter["name"] for parameter in record.spec["parameters"]]
    return {
        name: {
            arm: sorted(
                ((trial.values[name], value) for trial, value in _complete(record.of_arm(arm))),
                key=lambda point: (str(type(point[0])), point[0]),
            )
            for arm in arms(record)
        }
        for name in names
    }


def _complete(trials: Sequence[SearchTrial]) -> list[tuple[SearchTrial, float]]:
    """Complete trials with what they reached."""
    return [(t, t.value) for t in trials if t.state == SearchState.COMPLETE and t.value is not None]


def is_logarithmic(parameter: Mapping[str, object]) -> bool:
    """Whether a parameter (as the record's spec has it) is drawn evenly in the logarithm."""
    return bool(parameter["log"])
