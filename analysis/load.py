"""A study's rows as one table, joined with the factors of its trials; what is not whole is refused.

A trial's rows are those of its segments, end to end. Trials share trunks, so a trunk's rows appear in several trials:
curves are read from ``rows``, but cost and exposure are summed over ``segments``, where each one counts once.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.arms import FACTORS, factors, varying
from analysis.checks import check_rows
from analysis.files import StorageReader
from raystudy.errors import RowsError, StorageError
from raystudy.records import ROWS_VERSION, SegmentRef, TrialRecord, TrialState, record_from_dict
from raystudy.records import columns as row_columns

VERSION_KEY = b"raystudy_rows_version"
_CATEGORIES = ("trial_id", "init", "norm", "backbone", "schedule", "data", "other")
_NUMBERS = ("seed", "total", "units", "fraction", "train_images")


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
    """Axes, versions and commit as the study recorded them."""

    @property
    def val(self) -> pd.DataFrame:
        """The evaluation rows."""
        return self.rows[self.rows["split"] == "val"]

    @property
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
    content = _read_json(reader, f"studies/{study}.json")
    if content is None:
        known = [name.removesuffix(".json") for name in reader.names("studies") if name.endswith(".json")]
        raise StorageError(f"{storage} has no study {study!r}; it has {', '.join(known) or 'none'}")
    specs: dict[str, dict[str, Any]] = content["trials"]
    records = {trial_id: _record(reader, trial_id, spec) for trial_id, spec in specs.items()}
    trials = _trials_table(specs, records, int(content["unit"]))
    tables = _segment_tables(reader, records)
    rows = _rows_table(trials, records, tables)
    check_rows(rows, trials)
    return StudyTable(
        name=study,
        storage=storage,
        unit=int(content["unit"]),
        preset=str(content.get("preset", "")),
        trials=trials,
        rows=rows,
        segments=_segments_table(records, tables),
        records=records,
        specs=specs,
        weights=_weights(reader, trials),
        provenance={key: content.get(key) for key in ("axes", "versions", "commit")},
    )


def _record(reader: StorageReader, trial_id: str, spec: dict[str, Any]) -> TrialRecord:
    data = _read_json(reader, f"trials/{trial_id}.json")
    if data is None:
        return TrialRecord(trial_id=trial_id, spec=spec, segments=(), state=TrialState.WAITING)
    return record_from_dict(data)


def _trials_table(specs: Mapping[str, Any], records: Mapping[str, TrialRecord], unit: int) -> pd.DataFrame:
    lines = []
    for (trial_id, spec), other in zip(specs.items(), varying(specs.values()), strict=True):
        record = records[trial_id]
        lines.append(
            {"trial_id": trial_id, **factors(spec, unit), "other": other, "state": str(record.state)}
            | {"iteration": record.iteration, "error": record.error}
        )
    columns = ["trial_id", *FACTORS, "state", "iteration", "error", "total", "units", "fraction", "train_images"]
    return pd.DataFrame(lines, columns=None if lines else columns).set_index("trial_id")


def _segment_tables(reader: StorageReader, records: Mapping[str, TrialRecord]) -> dict[str, pa.Table]:
    """Rows of each segment: whole when it is done, else those of its newest whole checkpoint."""
    tables: dict[str, pa.Table] = {}
    foreign = []
    for segment_id in dict.fromkeys(ref.segment_id for record in records.values() for ref in record.segments):
        table = _newest_rows(reader, segment_id)
        if table is None:
            continue
        version = (table.schema.metadata or {}).get(VERSION_KEY, b"none").decode()
        if version != str(ROWS_VERSION):
            foreign.append(f"segment {segment_id} has rows of version {version}; this raystudy reads {ROWS_VERSION}")
        tables[segment_id] = table
    if foreign:
        raise RowsError("\n".join([*foreign[:10], "read them with the raystudy that wrote them, or train anew"]))
    return tables


def _newest_rows(reader: StorageReader, segment_id: str) -> pa.Table | None:
    """The rows at the segment's end, unless a longer run has gone beyond it: then those of its newest checkpoint.

    A checkpoint folder under its final, numeric name is whole; others are still being written.
    """
    folder = f"segments/{segment_id}"
    checkpoints = sorted((int(n) for n in reader.names(f"{folder}/checkpoints") if n.isdigit()), reverse=True)
    result = _read_json(reader, f"{folder}/result.json")
    if result is not None and int(result["iteration"]) >= max(checkpoints, default=0):
        return reader.read_table(f"{folder}/rows.arrow")
    for iteration in checkpoints:
        table = reader.read_table(f"{folder}/checkpoints/{iteration}/rows.arrow")
        if table is not None:
            return table
    return None


def _rows_table(
    trials: pd.DataFrame, records: Mapping[str, TrialRecord], tables: Mapping[str, pa.Table]
) -> pd.DataFrame:
    parts, lengths = [], np.zeros(len(trials), dtype=np.int64)
    iterations = {segment_id: table.column("iteration").to_numpy() for segment_id, table in tables.items()}
    for position, trial_id in enumerate(trials.index):
        for ref in records[trial_id].segments:
            if ref.segment_id in tables:
                part = _part(tables[ref.segment_id], iterations[ref.segment_id], ref)
                parts.append(part)
                lengths[position] += part.num_rows
    return _joined(parts, trials, lengths)


def _part(table: pa.Table, iterations: np.ndarray, ref: SegmentRef) -> pa.Table:
    inside = np.flatnonzero((iterations > ref.start) & (iterations <= ref.end))
    if len(inside) == table.num_rows:
        return table
    if len(inside) and inside[-1] - inside[0] + 1 == len(inside):
        return table.slice(int(inside[0]), len(inside))
    return table.take(pa.array(inside))


def _joined(parts: list[pa.Table], trials: pd.DataFrame, lengths: np.ndarray) -> pd.DataFrame:
    """The rows as pandas, one block at a time (memory), with each trial's factors as categories."""
    positions = np.repeat(np.arange(len(trials)), lengths)
    columns: dict[str, Any] = {}
    for name in _CATEGORIES:
        values = trials.index if name == "trial_id" else trials[name]
        codes, names = pd.factorize(values)
        columns[name] = pd.Categorical.from_codes(codes[positions], categories=names)
    for name in _NUMBERS:
        columns[name] = trials[name].to_numpy()[positions]
    if not parts:
        empty = {name: np.zeros(0, dtype=np.dtype(kind)) for name, kind in row_columns().items() if kind is not str}
        nothing = {"split": pd.Categorical([]), "segment_id": pd.Categorical([])}
        return pd.DataFrame(columns | empty | nothing)
    table = pa.concat_tables(parts)
    for field in table.schema:
        column = table.column(field.name)
        if pa.types.is_string(field.type):
            columns[field.name] = column.dictionary_encode().combine_chunks().to_pandas()
            continue
        values = column.to_numpy()
        if not (values.dtype.kind == "f" and np.isnan(values).all()):
            columns[field.name] = values
    return pd.DataFrame(columns, copy=False)


def _segments_table(records: Mapping[str, TrialRecord], tables: Mapping[str, pa.Table]) -> pd.DataFrame:
    starts = {ref.segment_id: ref.start for record in records.values() for ref in record.segments}
    lines = []
    for segment_id, table in tables.items():
        last = table.slice(max(0, table.num_rows - 1)).to_pylist()
        wall = np.nanmax([0.0, *table.column("wall_time_s").to_pylist()])
        end = last[0]["iteration"] if last else starts[segment_id]
        workers = last[0]["workers"] if last else 1
        lines.append((segment_id, starts[segment_id], end, float(wall), workers))
    columns = ["segment_id", "start", "end", "wall_time_s", "workers"]
    return pd.DataFrame(lines, columns=columns).set_index("segment_id")


def _weights(reader: StorageReader, trials: pd.DataFrame) -> dict[str, dict[str, Any]]:
    found = {}
    for weights_id in sorted(set(trials["weights_id"]) - {""} if len(trials) else set()):
        provenance = _read_json(reader, f"weights/{weights_id}/provenance.json")
        if provenance is not None:
            found[weights_id] = provenance
    return found


def _read_json(reader: StorageReader, path: str) -> dict[str, Any] | None:
    content = reader.read(path)
    if content is None:
        return None
    try:
        parsed: dict[str, Any] = json.loads(content)
    except ValueError as error:
        raise StorageError(f"{reader.root}/{path} is no JSON ({error}); it was not written by raystudy") from error
    return parsed
