import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analysis.segment_rows import KINDS, NUMBERS, TEXTS, RowFiles, SegmentRows
from raystudy.errors import RowsError, StorageError
from raystudy.records import EvalRow, Row, TrainRow, write_rows

COMMON: dict[str, Any] = {"segment_id": "one", "lr": 0.02, "global_batch": 16, "workers": 8}
ROWS: list[Row] = [
    *(TrainRow(**COMMON, iteration=at, loss=1 / at, images=16 * at, wall_time_s=0.5 * at) for at in range(1, 10)),
    *(EvalRow(**COMMON, iteration=at, loss=2.0, images=7, box_ap=4.0 + at, num_images=5) for at in range(10, 14)),
]


def _content(folder: Path, rows: Sequence[Row]) -> bytes:
    write_rows(folder / "rows.arrow", rows)
    return (folder / "rows.arrow").read_bytes()


def _rewritten(content: bytes, table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=5 if not options else None)
    return sink.getvalue()


def _table(content: bytes) -> pa.Table:
    return pa.ipc.open_file(pa.BufferReader(content)).read_all()


def _agree(found: SegmentRows, content: bytes) -> None:
    """As Arrow itself reads the file, bit for bit."""
    table = _table(content)
    assert found.num_rows == table.num_rows
    for name in NUMBERS:
        lacks = name not in table.column_names
        plain = np.full(table.num_rows, np.nan) if lacks else table.column(name).to_numpy()
        ours = found.numbers(name)
        assert ours.dtype == plain.dtype, name
        np.testing.assert_array_equal(ours, plain, err_msg=name)
    for name in TEXTS:
        assert found.texts[name].to_pylist() == table.column(name).to_pylist()


def test_files_that_are_laid_out_alike_are_read_as_arrow_reads_them(tmp_path: Path) -> None:
    files, first = RowFiles(), _content(tmp_path, ROWS)
    second = _content(tmp_path, [dataclasses.replace(row, segment_id="two", lr=3.0, instances=9) for row in ROWS])
    assert len(first) == len(second)
    assert first != second
    for content in (first, second, first):
        _agree(files.read(content, "here"), content)
    assert sum(map(len, files._layouts.values())) == 1


def test_files_of_one_length_with_values_in_other_rows_are_told_apart(tmp_path: Path) -> None:
    """Training and evaluation rows in another order: the same columns lack values, in other rows."""
    files = RowFiles()
    for rows in (ROWS, ROWS[::-1], [*ROWS[9:], *ROWS[:9]]):
        content = _content(tmp_path, rows)
        _agree(files.read(content, "here"), content)


def test_files_of_several_batches_and_compressed_ones_are_read_as_arrow_reads_them(tmp_path: Path) -> None:
    content = _content(tmp_path, ROWS)
    for other in (_rewritten(content, _table(content)), _rewritten(content, _table(content), compression="zstd")):
        files = RowFiles()
        _agree(files.read(other, "here"), other)
        assert not any(files._layouts.values())


def test_measurements_that_a_file_does_not_have_yet_are_nan(tmp_path: Path) -> None:
    content = _content(tmp_path, ROWS)
    without = _table(content).drop_columns(["box_ap", "utilization"])
    for older in (_rewritten(content, without), _rewritten(content, without.combine_chunks(), use_legacy_format=False)):
        _agree(RowFiles().read(older, "here"), older)


def test_taken_rows_are_those_rows(tmp_path: Path) -> None:
    rows, chosen = RowFiles().read(_content(tmp_path, ROWS), "here"), np.array([0, 3, 11])
    taken = rows.taken(chosen)
    for name in NUMBERS:
        np.testing.assert_array_equal(taken.numbers(name), rows.numbers(name)[chosen], err_msg=name)
    assert taken.texts["split"].to_pylist() == ["train", "train", "val"]


def test_no_arrow_file_and_one_without_its_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="over there are no Arrow file"):
        RowFiles().read(b"torn", "over there")
    content = _content(tmp_path, ROWS)
    lacking = _rewritten(content, _table(content).drop_columns(["iteration", "split"]))
    with pytest.raises(RowsError, match="over there has rows without iteration, split"):
        RowFiles().read(lacking, "over there")


def test_no_column_is_forgotten() -> None:
    assert {*NUMBERS, *TEXTS} == set(KINDS)
