"""The records that a study leaves behind: rows, and one record a trial. Versioned.

Only reading and writing rows loads Arrow; everything else is the standard library.

Two kinds of row share one table, told apart by ``split``. All losses are means over the global batch (training, since
the last row of the segment) or over the validation pictures; all APs are in percent; nan is "not measured".
Columns in ``MEASURED_COLUMNS`` are wall-clock measurements: they differ from run to run and are no result.
"""

import dataclasses
import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from raystudy.errors import RowsError

ROWS_VERSION, VERSION_KEY = 1, b"raystudy_rows_version"
"""Of the columns below, and its key in a file's metadata. A reader refuses rows of another version."""

MEASURED_COLUMNS = frozenset({"wall_time_s", "iterations_per_s", "data_wait_s", "memory_mib", "utilization"})

NAN = math.nan


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """The losses of a detector; those that it does not have are nan."""

    loss: float = NAN
    """Sum of the others."""

    loss_rpn_objectness: float = NAN
    loss_rpn_box: float = NAN
    loss_box_class: float = NAN
    loss_box_reg: float = NAN
    loss_mask: float = NAN
    loss_keypoint: float = NAN


@dataclass(frozen=True, kw_only=True, slots=True)
class Exposure:
    """What the network has seen since iteration 0 of its trial, summed over workers; pre-training not included."""

    images: int = 0
    instances: int = 0
    pixels_nominal: int = 0
    """800 x 1333 an image, as the paper counts (Figure 2)."""

    pixels_measured: int = 0
    """Pixels after resize and crop, padding not counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    segment_id: str
    """The segment that trained this row: a trial's rows come from its trunk and its branch."""

    iteration: int
    """Iterations done since the trial's beginning; the first row is not 0."""

    split: str
    lr: float
    """Learning rate of the last iteration done."""

    global_batch: int
    """Images of one iteration, over all workers."""

    workers: int
    loss: float
    loss_rpn_objectness: float = NAN
    loss_rpn_box: float = NAN
    loss_box_class: float = NAN
    loss_box_reg: float = NAN
    loss_mask: float = NAN
    loss_keypoint: float = NAN
    images: int = 0
    instances: int = 0
    pixels_nominal: int = 0
    pixels_measured: int = 0
    wall_time_s: float = NAN
    """Seconds of work on this segment so far, evaluations and earlier attempts included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainRow(_Row):
    """Mean training losses since the segment's last training row."""

    split: str = "train"
    iterations_per_s: float = NAN
    data_wait_s: float = NAN
    """Seconds since the last row in which training waited for its data."""

    memory_mib: float = NAN
    """Peak memory of the accelerator, MiB; nan on CPU."""

    utilization: float = NAN
    """Percent of the last second in which the first worker's accelerator was busy; nan on CPU or where nobody tells."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalRow(_Row):
    """Validation losses, and COCO metrics over the whole validation set, in percent."""

    split: str = "val"
    box_ap: float = NAN
    box_ap50: float = NAN
    box_ap75: float = NAN
    box_ap_small: float = NAN
    box_ap_medium: float = NAN
    box_ap_large: float = NAN
    mask_ap: float = NAN
    mask_ap50: float = NAN
    mask_ap75: float = NAN
    mask_ap_small: float = NAN
    mask_ap_medium: float = NAN
    mask_ap_large: float = NAN
    keypoint_ap: float = NAN
    keypoint_ap50: float = NAN
    keypoint_ap75: float = NAN
    voc_ap: float = NAN
    """VOC AP at IoU 0.5, area under the curve (2010 on)."""

    voc07_ap: float = NAN
    """VOC AP at IoU 0.5, mean of 11 points (2007)."""

    num_images: int = 0
    """Validation pictures that were scored."""

    train_box_ap: float = NAN
    """On a fixed part of the training set (``EvalSpec.train_images``), as the others are of validation; nan without."""

    train_mask_ap: float = NAN


Row = TrainRow | EvalRow


def columns() -> dict[str, type]:
    """Every column of the table of rows, in order, with its type: ``str``, ``int`` or ``float``."""
    found: dict[str, type] = {}
    for row_type in (TrainRow, EvalRow):
        for f in dataclasses.fields(row_type):
            found[f.name] = cast(type, f.type)
    return found


def row_to_dict(row: Row) -> dict[str, Any]:
    """The row as a flat dict of its own columns."""
    return dataclasses.asdict(row)


def row_from_dict(data: dict[str, Any]) -> Row:
    """The inverse of ``row_to_dict``; columns of the other kind of row are ignored."""
    row_type = TrainRow if data["split"] == "train" else EvalRow
    return row_type(**{f.name: data[f.name] for f in dataclasses.fields(row_type) if f.name in data})


class TrialState(enum.StrEnum):
    """Where a trial stands."""

    WAITING = "waiting"
    """Not begun, or waiting for its trunk."""

    RUNNING = "running"
    """A segment of it has begun."""

    COMPLETE = "complete"
    """All its iterations are committed."""

    DIVERGED = "diverged"
    """Its loss was not finite: a result."""

    FAILED = "failed"
    """It cannot go on; ``error`` says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentRef:
    """A trial's part of one segment: iterations ``start`` (exclusive) to ``end`` (inclusive) are its rows.

    Where both are equal the segment is an evaluation: its row takes the place of the evaluation row at ``end`` that the
    segments before it have.
    """

    segment_id: str
    start: int
    end: int

    @property
    def is_evaluation(self) -> bool:
        """Whether the segment has trained nothing."""
        return self.start == self.end


def path_rows(path: Sequence[SegmentRef], rows_of: Callable[[str], list[Row]]) -> list[Row]:
    """The rows of ``path``, a trial's first segments or all, each once; ``rows_of`` gives a segment's by its id."""
    found: list[Row] = []
    for ref in path:
        own = rows_of(ref.segment_id)
        if ref.is_evaluation:
            found = [row for row in found if row.split != "val" or row.iteration != ref.end or not own] + own
        else:
            found += [row for row in own if ref.start < row.iteration <= ref.end]
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRecord:
    """What storage keeps of a trial. Cost lives on segments only, so that a shared trunk counts once."""

    trial_id: str
    spec: dict[str, Any]
    """``TrialSpec.to_dict()``."""

    segments: tuple[SegmentRef, ...]
    state: TrialState
    iteration: int = 0
    """Iterations committed."""

    metrics: dict[str, float] = field(default_factory=dict)
    """The last evaluation row's metrics when complete."""

    error: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Versions, commit, threads, hardware: recorded, never hashed."""


def record_to_dict(record: TrialRecord) -> dict[str, Any]:
    """JSON-ready."""
    return dataclasses.asdict(record)


def record_from_dict(data: dict[str, Any]) -> TrialRecord:
    """The inverse of ``record_to_dict``."""
    segments = tuple(SegmentRef(**ref) for ref in data["segments"])
    return TrialRecord(**{**data, "segments": segments, "state": TrialState(data["state"])})


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as one Arrow IPC file that bears the version of its columns."""
    import pyarrow as pa

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    fields = [(name, kinds[kind]) for name, kind in columns().items()]
    schema = pa.schema(fields, metadata={VERSION_KEY: str(ROWS_VERSION).encode()})
    table = pa.Table.from_pylist([row_to_dict(row) for row in rows], schema=schema)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(table)


def read_rows(path: Path) -> list[Row]:
    """The rows of one file, in the order in which they were written.

    Raises:
        RowsError: the file is of another version, or no file of rows.
    """
    return rows_from_bytes(path.read_bytes(), str(path))


def rows_from_bytes(content: bytes, place: str) -> list[Row]:
    """The rows of a file's content; ``place`` names it in errors, which are those of ``read_rows``."""
    import pyarrow as pa

    try:
        table = pa.ipc.open_file(pa.BufferReader(content)).read_all()
    except pa.ArrowInvalid as error:
        raise RowsError(f"{place} is not a file of rows: {error}") from error
    version = (table.schema.metadata or {}).get(VERSION_KEY, b"none").decode()
    if version != str(ROWS_VERSION):
        raise RowsError(f"{place} holds rows of version {version}, but this raystudy reads version {ROWS_VERSION}")
    return [row_from_dict(item) for item in table.to_pylist()]


def check_rows(rows: Sequence[Row], *, start: int, end: int, eval_interval: int, log_interval: int) -> None:
    """Refuse rows that are doubled, out of order or missing between ``start`` (exclusive) and ``end`` (inclusive).

    Raises:
        RowsError: with the iterations at fault.
    """
    for split, interval in (("train", log_interval), ("val", eval_interval)):
        have = [row.iteration for row in rows if row.split == split]
        want = expected_iterations(start, end, interval)
        if have != want:
            missing = sorted(set(want) - set(have))
            extra = sorted(iteration for iteration in set(have) if have.count(iteration) > 1 or iteration not in want)
            raise RowsError(
                f"the {split} rows of iterations {start}-{end} are not exactly once: "
                f"missing {missing[:10]}, doubled or foreign {extra[:10]}, out of order: {have != sorted(have)}"
            )


def expected_iterations(start: int, end: int, interval: int) -> list[int]:
    """Iterations at which a segment yields a row: each multiple of ``interval``, and its end."""
    grid = list(range((start // interval + 1) * interval, end + 1, interval))
    return grid if not end > start or end % interval == 0 else [*grid, end]
