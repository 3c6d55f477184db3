"""From segments' Arrow files to one table of rows in pandas, within a bounded memory.

Files are read and turned into columns a batch of trials at a time, and let go when the last trial that needs them has
been read; columns without any number are not kept.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.files import StorageReader
from analysis.segment_rows import KINDS, NUMBERS, TEXTS, Array, RowFiles, SegmentRows, as_numbers
from raystudy.records import SegmentRef, TrialRecord, TrialState

CATEGORIES = ("trial_id", "init", "norm", "backbone", "schedule", "data", "other")
FACTOR_NUMBERS = ("seed", "total", "units", "fraction", "train_images")
"""Factors of the trial that every row carries."""

_BATCH = 500
"""Trials that are turned into columns at once."""

Pieces = dict[str, list[Any]]
Part = tuple[SegmentRows, int, int]
"""Rows of a segment from one (inclusive) to another (exclusive)."""


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
    files = RowFiles()
    tables: dict[str, SegmentRows | None] = {}
    segments: dict[str, tuple[int, int, float, int]] = {}
    pieces: Pieces = {}
    batch: list[Part] = []
    lengths = np.zeros(len(trials), dtype=np.int64)
    for position, trial_id in enumerate(trials.index):
        if position % _BATCH == 0:
            tables |= _read_ahead(reader, files, records, list(trials.index[position : position + _BATCH]), tables)
        found: list[tuple[SegmentRef, SegmentRows]] = []
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
            lengths[position] += part[2] - part[1]
        if position % _BATCH == _BATCH - 1:
            _flush(batch, pieces)
    _flush(batch, pieces)
    names = ["start", "end", "wall_time_s", "workers"]
    summary = pd.DataFrame.from_dict(segments, orient="index", columns=names).rename_axis("segment_id")
    return ReadRows(_joined(pieces, trials, lengths), summary)


def _read_ahead(
    reader: StorageReader,
    files: RowFiles,
    records: Mapping[str, TrialRecord],
    batch: Sequence[str],
    known: Mapping[str, object],
) -> dict[str, SegmentRows | None]:
    """The rows of the next trials' segments, but those that are known; final ones only.

    Those are of the segment's end, or of its newest checkpoint when that is further.
    """

    def read(segment_id: str) -> SegmentRows | None:
        found = reader.rows_content(segment_id)
        return None if found is None else files.read(*found)

    wanted = (ref.segment_id for trial_id in batch for ref in records[trial_id].segments)
    return reader.read_all(read, (name for name in wanted if name not in known))


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


def _summary(rows: SegmentRows, start: int) -> tuple[int, int, float, int]:
    wall = float(np.fmax.reduce(rows.numbers("wall_time_s")))  # nan only where there is nothing else
    end, workers = (int(rows.numbers(name)[-1]) for name in ("iteration", "workers"))
    return start, end, 0.0 if np.isnan(wall) else wall, workers


def _part(rows: SegmentRows, ref: SegmentRef, evaluated_anew: int) -> Part:
    """The rows of ``rows`` that are the trial's; another segment has its evaluation at ``evaluated_anew``."""
    if ref.is_evaluation:
        return rows, 0, rows.num_rows
    iterations = rows.numbers("iteration")
    is_inside = (iterations > ref.start) & (iterations <= ref.end)
    if ref.end == evaluated_anew:
        splits = rows.texts["split"].to_numpy(zero_copy_only=False)
        is_inside &= (iterations != evaluated_anew) | (splits != "val")
    elif is_inside.all():
        return rows, 0, rows.num_rows
    inside = np.flatnonzero(is_inside)
    if len(inside) and inside[-1] - inside[0] + 1 == len(inside):
        return rows, int(inside[0]), int(inside[-1]) + 1
    return rows.taken(inside), 0, len(inside)


def _flush(batch: list[Part], pieces: Pieces) -> None:
    """Turn a batch into columns; a column of nan alone is kept as its length."""
    if not batch:
        return
    for name in TEXTS:
        texts = pa.chunked_array([rows.texts[name].slice(first, last - first) for rows, first, last in batch])
        pieces.setdefault(name, []).append(texts.dictionary_encode().combine_chunks())
    masks: dict[tuple[int, ...], Array | None] = {}
    for name in NUMBERS:
        words = [rows.words[(at := rows.starts[name]) + first : at + last] for rows, first, last in batch]
        lacking = [rows.missing.get(name) for rows, _, _ in batch]
        alike = tuple(map(id, lacking))  # most columns lack what the column before lacked
        if alike not in masks:
            masks[alike] = _mask(lacking, batch)
        values = as_numbers(name, np.concatenate(words), masks[alike])
        is_empty = values.dtype.kind == "f" and bool(np.isnan(values).all())
        pieces.setdefault(name, []).append(len(values) if is_empty else values)
    batch.clear()


def _mask(lacking: Sequence[Array | None], batch: Sequence[Part]) -> Array | None:
    """Which rows of a batch have no value in a column; None when all have one."""
    if all(mask is None for mask in lacking):
        return None
    return np.concatenate(
        [
            np.zeros(last - first, bool) if mask is None else mask[first:last]
            for mask, (_, first, last) in zip(lacking, batch, strict=True)
        ]
    )


def _joined(pieces: Pieces, trials: pd.DataFrame, lengths: np.ndarray) -> pd.DataFrame:
    positions = np.repeat(np.arange(len(trials), dtype=np.int32), lengths)
    found: dict[str, Any] = {}
    for name in CATEGORIES:
        codes, names = pd.factorize(trials.index if name == "trial_id" else trials[name])
        small = codes.astype(np.int8) if len(names) < 127 else codes.astype(np.int32)
        found[name] = pd.Categorical.from_codes(small[positions], categories=names)
    for name in FACTOR_NUMBERS:
        found[name] = trials[name].to_numpy()[positions]
    if not pieces:
        empty = {name: np.zeros(0, dtype=np.dtype(KINDS[name])) for name in NUMBERS}
        return pd.DataFrame(found | empty | {name: pd.Categorical([]) for name in TEXTS})
    for name in KINDS:
        parts = pieces.pop(name)
        if name in TEXTS:
            found[name] = pa.chunked_array(parts).unify_dictionaries().to_pandas()
        elif not all(isinstance(part, int) for part in parts):
            filled = [np.full(part, np.nan) if isinstance(part, int) else part for part in parts]
            found[name] = np.concatenate(filled)
    return pd.DataFrame(found, copy=False)
