"""From segments' Arrow files to one table of rows in pandas, within a bounded memory.

Files are memory-mapped, turned into columns a batch of trials at a time, and let go when the last trial that needs
them has been read; columns without any number are never copied.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.files import StorageReader
from raystudy.errors import RowsError
from raystudy.records import ROWS_VERSION, VERSION_KEY, SegmentRef, TrialRecord, TrialState, columns

CATEGORIES = ("trial_id", "init", "norm", "backbone", "schedule", "data", "other")
NUMBERS = ("seed", "total", "units", "fraction", "train_images")
"""Factors of the trial that every row carries."""

_TEXTS = tuple(name for name, kind in columns().items() if kind is str)
_COLUMNS = list(columns())
_MEASUREMENTS = frozenset(name for name, kind in columns().items() if kind is float)
_BATCH = 500
"""Trials that are turned into columns at once."""

Pieces = dict[str, list[Any]]


@dataclass(frozen=True)
class ReadRows:
    """What ``read_rows`` found."""

    rows: pd.DataFrame
    segments: pd.DataFrame
    """``start``, ``end``, ``wall_time_s`` and ``workers`` by ``segment_id``."""


def read_rows(reader: StorageReader, trials: pd.DataFrame, records: Mapping[str, TrialRecord]) -> ReadRows:
    """The rows of all trials, in the order of ``trials``, joined with their factors; and every segment once.

    Raises:
        RowsError: rows of another schema version.
    """
    left = Counter(ref.segment_id for record in records.values() for ref in record.segments)
    tables: dict[str, pa.Table | None] = {}
    segments: dict[str, tuple[int, int, float, int]] = {}
    pieces: Pieces = {}
    batch: list[pa.Table] = []
    lengths = np.zeros(len(trials), dtype=np.int64)
    for position, trial_id in enumerate(trials.index):
        if position % _BATCH == 0:
            tables |= _read_ahead(reader, records, list(trials.index[position : position + _BATCH]), tables)
        found: list[tuple[SegmentRef, pa.Table]] = []
        for ref in records[trial_id].segments:
            table = tables[ref.segment_id]
            left[ref.segment_id] -= 1
            if not left[ref.segment_id]:
                del tables[ref.segment_id]
            if table is not None and table.num_rows:
                segments.setdefault(ref.segment_id, _summary(table, ref.start))
                found.append((ref, table))
        evaluated_anew = found[-1][0].end if found and found[-1][0].is_evaluation else -1
        for ref, table in found:
            part = _part(table, ref, evaluated_anew)
            batch.append(part)
            lengths[position] += part.num_rows
        if position % _BATCH == _BATCH - 1:
            _flush(batch, pieces)
    _flush(batch, pieces)
    names = ["start", "end", "wall_time_s", "workers"]
    summary = pd.DataFrame.from_dict(segments, orient="index", columns=names).rename_axis("segment_id")
    return ReadRows(_joined(pieces, trials, lengths), summary)


def _read_ahead(
    reader: StorageReader, records: Mapping[str, TrialRecord], batch: Sequence[str], known: Mapping[str, object]
) -> dict[str, pa.Table | None]:
    """The tables of the next trials' segments, but those that are known."""
    wanted = (ref.segment_id for trial_id in batch for ref in records[trial_id].segments)
    return reader.read_all(lambda name: _read_segment(reader, name), (name for name in wanted if name not in known))


@dataclass(frozen=True)
class SegmentProgress:
    """How far a segment is: what a trial that is not complete is judged by."""

    iteration: int
    state: TrialState
    """Of a trial that ends here: waiting, running, or why it stopped."""

    error: str = ""


def segment_progress(reader: StorageReader, segment_id: str) -> SegmentProgress:
    """What storage has of a segment."""
    segment = reader.segment(segment_id)
    result, reached = segment.result(), segment.committed_iteration()
    if result is None:
        is_begun = reached or segment.newest_attempt()
        return SegmentProgress(reached, TrialState.RUNNING if is_begun else TrialState.WAITING)
    stopped = TrialState(result.get("state", TrialState.COMPLETE))
    state = stopped if stopped in (TrialState.DIVERGED, TrialState.FAILED) else TrialState.RUNNING
    return SegmentProgress(reached, state, str(result.get("error") or ""))


def _read_segment(reader: StorageReader, segment_id: str) -> pa.Table | None:
    """The rows that are final so far: of the segment's end, or of its newest checkpoint when that is further."""
    table = reader.read_rows(segment_id)
    if table is not None:
        version = (table.schema.metadata or {}).get(VERSION_KEY, b"none").decode()
        if version != str(ROWS_VERSION):
            raise RowsError(
                f"segment {segment_id} has rows of version {version}; this raystudy reads {ROWS_VERSION}; "
                "read them with the raystudy that wrote them, or train anew"
            )
    return table if table is None else _with_all_columns(table)


def _with_all_columns(table: pa.Table) -> pa.Table:
    """Rows that were written before a column of measurements was added have nan there."""
    names = table.column_names
    if names == _COLUMNS:
        return table
    there = set(names)
    for name in _COLUMNS:
        if name in _MEASUREMENTS and name not in there:
            table = table.append_column(name, pa.array(np.full(table.num_rows, np.nan)))
    return table.select([name for name in _COLUMNS if name in there or name in _MEASUREMENTS])


def _summary(table: pa.Table, start: int) -> tuple[int, int, float, int]:
    wall = table.column("wall_time_s").to_numpy()
    last = table.num_rows - 1
    known = wall[~np.isnan(wall)]
    end, workers = table.column("iteration")[last].as_py(), table.column("workers")[last].as_py()
    return start, int(end), float(known.max()) if len(known) else 0.0, int(workers)


def _part(table: pa.Table, ref: SegmentRef, evaluated_anew: int) -> pa.Table:
    """The rows of ``table`` that are the trial's; another segment has its evaluation at ``evaluated_anew``."""
    if ref.is_evaluation:
        return table
    iterations = table.column("iteration").to_numpy()
    is_inside = (iterations > ref.start) & (iterations <= ref.end)
    if ref.end == evaluated_anew:
        splits = table.column("split").to_numpy(zero_copy_only=False)
        is_inside &= (iterations != evaluated_anew) | (splits != "val")
    inside = np.flatnonzero(is_inside)
    if len(inside) == table.num_rows:
        return table
    if len(inside) and inside[-1] - inside[0] + 1 == len(inside):
        return table.slice(int(inside[0]), len(inside))
    return table.take(pa.array(inside))


def _flush(batch: list[pa.Table], pieces: Pieces) -> None:
    """Turn a batch into columns; a column of nan alone is kept as its length."""
    if not batch:
        return
    table = pa.concat_tables(batch)
    batch.clear()
    for name in table.column_names:
        column = table.column(name)
        if name in _TEXTS:
            pieces.setdefault(name, []).append(column.dictionary_encode().combine_chunks())
            continue
        values = column.to_numpy()
        is_empty = values.dtype.kind == "f" and bool(np.isnan(values).all())
        pieces.setdefault(name, []).append(len(values) if is_empty else values.copy())


def _joined(pieces: Pieces, trials: pd.DataFrame, lengths: np.ndarray) -> pd.DataFrame:
    positions = np.repeat(np.arange(len(trials), dtype=np.int32), lengths)
    found: dict[str, Any] = {}
    for name in CATEGORIES:
        codes, names = pd.factorize(trials.index if name == "trial_id" else trials[name])
        small = codes.astype(np.int8) if len(names) < 127 else codes.astype(np.int32)
        found[name] = pd.Categorical.from_codes(small[positions], categories=names)
    for name in NUMBERS:
        found[name] = trials[name].to_numpy()[positions]
    if not pieces:
        empty = {name: np.zeros(0, dtype=np.dtype(kind)) for name, kind in columns().items() if kind is not str}
        return pd.DataFrame(found | empty | {name: pd.Categorical([]) for name in _TEXTS})
    for name in list(pieces):
        parts = pieces.pop(name)
        if name in _TEXTS:
            found[name] = pa.chunked_array(parts).unify_dictionaries().to_pandas()
        elif not all(isinstance(part, int) for part in parts):
            filled = [np.full(part, np.nan) if isinstance(part, int) else part for part in parts]
            found[name] = np.concatenate(filled)
    return pd.DataFrame(found, copy=False)
