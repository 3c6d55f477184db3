"""A study's rows as one table, joined with the factors of its trials; what is not whole is refused.

A trial's rows are those of its segments, end to end. Trials share trunks, so a trunk's rows appear in several trials:
curves are read from ``rows``, but cost and exposure are summed over ``segments``, where each one counts once.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.arms import FACTORS, factors, in_levels, varying
from analysis.checks import check_rows
from analysis.files import StorageReader
from analysis.leading import LeadingMetric, leading_metric
from analysis.rows import SegmentProgress, read_rows, segment_progress
from raystudy.errors import StorageError
from raystudy.records import SegmentRef, TrialRecord, TrialState, record_from_dict


@dataclass(frozen=True)
class StudyTable:
    """One study, read from its storage."""

    name: str
    storage: str
    unit: int
    """Iterations of 1x."""

    preset: str
    trials: pd.DataFrame
    """One line a trial, indexed by ``trial_id``: its factors, ``state``, ``iteration`` and ``error``."""

    rows: pd.DataFrame
    """Every row of every trial (columns of ``records.columns()``), joined with ``trial_id`` and its factors.

    Columns that hold no number anywhere in the study are left out.
    """

    segments: pd.DataFrame
    """Every segment once, indexed by ``segment_id``: ``start``, ``end`` (iterations, so far), time, ``workers``."""

    records: Mapping[str, TrialRecord]
    specs: Mapping[str, dict[str, Any]]
    """``TrialSpec.to_dict()`` of each trial."""

    weights: Mapping[str, dict[str, Any]]
    """Provenance of the pre-trained weights that the study uses, where storage has it."""

    provenance: Mapping[str, Any]
    """Question, axes, versions and commit as the study recorded them."""

    links: Mapping[str, str]
    """What it is called -> address of a view of this study elsewhere, such as a workspace of Weights & Biases."""

    @functools.cached_property
    def leading(self) -> LeadingMetric:
        """The metric by which the study is answered."""
        return leading_metric(self.specs.values(), self.rows.columns)

    @functools.cached_property
    def val(self) -> pd.DataFrame:
        """The evaluation rows."""
        return self.rows[self.rows["split"] == "val"]

    @functools.cached_property
    def train(self) -> pd.DataFrame:
        """The training rows."""
        return self.rows[self.rows["split"] == "train"]


def load_study(storage: str, study: str) -> StudyTable:
    """Read ``study`` from ``storage`` (a folder, or a URI such as s3://), finished or not.

    Raises:
        StorageError: there is no such study.
        RowsError: rows with holes or duplicates, or of another schema version; all problems at once.
    """
    reader = StorageReader(storage)
    content = reader.read_json(f"studies/{study}.json")
    if content is None:
        known = [name.removesuffix(".json") for name in reader.names("studies") if name.endswith(".json")]
        raise StorageError(f"{storage} has no study {study!r}; it has {', '.join(known) or 'none'}")
    specs = _in_order(content)
    content = {**content, "trials": specs}
    paths = content.get("paths") or {}
    progress = functools.cache(functools.partial(segment_progress, reader))
    records = reader.read_all(
        lambda trial_id: _record(reader, trial_id, specs[trial_id], paths.get(trial_id, ()), progress), specs
    )
    others = in_levels(varying(specs.values()), content)
    trials = _trials_table(specs, records, int(content["unit"]), others)
    read = read_rows(reader, trials, records)
    check_rows(read.rows, trials)
    return StudyTable(
        name=study,
        storage=storage,
        unit=int(content["unit"]),
        preset=str(content.get("preset", "")),
        trials=trials,
        rows=read.rows,
        segments=read.segments,
        records=records,
        specs=specs,
        weights=_weights(reader, trials),
        provenance={key: content.get(key) for key in ("question", "axes", "versions", "commit")},
        links=_links(reader, study),
    )


def _in_order(content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The specs of the study's trials by id, in the order of its axes and levels; the file has ids by the alphabet."""
    specs: dict[str, dict[str, Any]] = content["trials"]
    of_trial, axes = content.get("levels") or {}, (content.get("spec") or {}).get("axes") or ()
    position = {axis["name"]: {level["name"]: at for at, level in enumerate(axis["levels"])} for axis in axes}

    def place(trial_id: str) -> list[int]:
        own = of_trial.get(trial_id, {})
        return [levels.get(own.get(axis), 0) for axis, levels in position.items()]

    return {trial_id: specs[trial_id] for trial_id in sorted(specs, key=place)}


def _record(
    reader: StorageReader,
    trial_id: str,
    spec: dict[str, Any],
    path: Sequence[Mapping[str, Any]],
    progress: Callable[[str], SegmentProgress],
) -> TrialRecord:
    """The trial's record; while it is not complete, as its segments have it now: records are written when a run ends.

    The study's own spec is used: equal to the record's, and shared, which halves the memory of many trials.
    """
    data = reader.read_json(f"trials/{trial_id}.json")
    kept = None if data is None else record_from_dict({**data, "spec": spec})
    is_settled = kept is not None and kept.state not in (TrialState.RUNNING, TrialState.WAITING)
    if kept is not None and (is_settled or not path):
        return kept
    refs = tuple(SegmentRef(**ref) for ref in path)
    state, iteration, error = TrialState.COMPLETE if refs else TrialState.WAITING, 0, ""
    for ref in refs:
        at = progress(ref.segment_id)
        iteration = max(iteration, min(at.iteration, ref.end))
        if at.iteration < ref.end:
            state, error = at.state, at.error
            break
    return TrialRecord(trial_id=trial_id, spec=spec, segments=refs, state=state, iteration=iteration, error=error)


def _trials_table(
    specs: Mapping[str, Any], records: Mapping[str, TrialRecord], unit: int, others: Sequence[str]
) -> pd.DataFrame:
    lines = []
    for (trial_id, spec), other in zip(specs.items(), others, strict=True):
        record = records[trial_id]
        lines.append(
            {"trial_id": trial_id, **factors(spec, unit), "other": other, "state": str(record.state)}
            | {"iteration": record.iteration, "error": record.error}
        )
    columns = ["trial_id", *FACTORS, "state", "iteration", "error", "total", "units", "fraction", "train_images"]
    return pd.DataFrame(lines, columns=None if lines else columns).set_index("trial_id")


def _links(reader: StorageReader, study: str) -> dict[str, str]:
    """Addresses that tracking has left beside the study's report."""
    folder = f"reports/{study}"
    found: dict[str, str] = {}
    for name in reader.names(folder):
        if name.startswith("wandb-") and name.endswith(".json"):
            kept = reader.read_json(f"{folder}/{name}") or {}
            found |= {
                f"W&B {kind}": str(address) for kind, address in kept.items() if str(address).startswith("https:")
            }
    return found


def _weights(reader: StorageReader, trials: pd.DataFrame) -> dict[str, dict[str, Any]]:
    found = {}
    for weights_id in sorted(set(trials["weights_id"]) - {""} if len(trials) else set()):
        provenance = _provenance(reader, weights_id)
        if provenance is not None:
            found[weights_id] = provenance
    return found


def _provenance(reader: StorageReader, weights_id: str) -> dict[str, Any] | None:
    found = reader.store.weights_provenance(weights_id)
    return None if found is None else found.to_dict()
