"""A segment's rows as columns that lie where they are in the bytes of its file.

A study's files of rows were written alike: where two have the same length, head and foot (schema, and the places of the
columns), their numbers lie at the same places. So Arrow is asked once for each such layout, and reads on its own only
what nothing else was like. ``benchmarks/load.py`` measures what that saves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from raystudy.errors import RowsError, StorageError
from raystudy.records import ROWS_VERSION, VERSION_KEY, columns

KINDS = columns()
NUMBERS = tuple(name for name, kind in KINDS.items() if kind is not str)
TEXTS = tuple(name for name, kind in KINDS.items() if kind is str)
_ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64()}
_WORD = 8
"""Bytes of every number."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class SegmentRows:
    """The rows of one file."""

    num_rows: int
    words: Array
    """All numbers as int64, whatever they are: the file's own bytes, 8 at a time."""

    starts: Mapping[str, int]
    """Where in ``words`` each column of numbers begins; of one that the file does not have, any place."""

    missing: Mapping[str, Array]
    """Which rows have no value, of the columns that lack some or all."""

    texts: Mapping[str, pa.Array]

    def numbers(self, name: str) -> Array:
        """A column of numbers; nan where there is no value, which makes floats of integers."""
        start = self.starts[name]
        return as_numbers(name, self.words[start : start + self.num_rows], self.missing.get(name))

    def taken(self, chosen: Array) -> "SegmentRows":
        """Some of the rows, by their positions; copied."""
        words = np.concatenate([self.words[start + chosen] for start in self.starts.values()])
        starts = {name: at * len(chosen) for at, name in enumerate(self.starts)}
        missing = {name: mask[chosen] for name, mask in self.missing.items()}
        texts = {name: text.take(pa.array(chosen)) for name, text in self.texts.items()}
        return SegmentRows(len(chosen), words, starts, missing, texts)


def as_numbers(name: str, words: Array, missing: Array | None) -> Array:
    """What the words of a column mean, in which ``missing`` has no value."""
    values = words if KINDS[name] is int else words.view(np.float64)
    return values if missing is None else np.where(missing, np.nan, values)


@dataclass(frozen=True, slots=True)
class _Layout:
    """What two files have in common whose numbers lie at the same places."""

    head: bytes
    foot: bytes
    num_rows: int
    starts: Mapping[str, int]
    texts: Mapping[str, tuple[slice, slice]]
    """Bytes of a text column: where each text begins, and the texts."""

    validity: Mapping[str, slice]
    """Bytes with a bit for each row that has a value, of the columns that lack some."""

    absent: Mapping[str, Array]
    """Columns of measurements that there are not, each with a mask of all rows."""

    masks: dict[bytes, Array]
    """Those bits that were met -> the rows without a value; few, and the same array for the same rows."""

    def fits(self, content: bytes) -> bool:
        """Whether a file of this length is laid out so."""
        return content.startswith(self.head) and content.endswith(self.foot)

    def read(self, content: bytes) -> SegmentRows:
        """The rows of a file that fits."""
        buffer = pa.py_buffer(content)
        texts = {
            name: pa.StringArray.from_buffers(self.num_rows, _part(buffer, offsets), _part(buffer, data))
            for name, (offsets, data) in self.texts.items()
        }
        missing = {**self.absent, **{name: self._mask(content[place]) for name, place in self.validity.items()}}
        words = np.frombuffer(content, np.int64, len(content) // _WORD)
        return SegmentRows(self.num_rows, words, self.starts, missing, texts)

    def _mask(self, bits: bytes) -> Array:
        found = self.masks.get(bits)
        if found is None:
            has = np.unpackbits(np.frombuffer(bits, np.uint8), count=self.num_rows, bitorder="little")
            found = self.masks[bits] = has == 0
        return found


class RowFiles:
    """Reads files of rows, and remembers how those were laid out that it has read."""

    def __init__(self) -> None:
        self._layouts: dict[int, list[_Layout]] = {}

    def read(self, content: bytes, place: str) -> SegmentRows:
        """The rows of a file's content; ``place`` names it in errors.

        Raises:
            RowsError: they are of another version, or lack a column that every row has.
            StorageError: it is no Arrow file.
        """
        alike = self._layouts.setdefault(len(content), [])
        for layout in alike:
            if layout.fits(content):
                return layout.read(content)
        table, new = _described(content, place)
        if new is None:
            return from_table(table)
        alike.append(new)
        return new.read(content)


def from_table(table: pa.Table) -> SegmentRows:
    """Any table's rows, copied: what files are read as that no layout describes."""
    there = set(table.column_names)
    whole = {name: _combined(table.column(name).cast(_ARROW[kind])) for name, kind in KINDS.items() if name in there}
    numbers = [name for name in NUMBERS if name in there]
    missing = {name: whole[name].is_null().to_numpy(zero_copy_only=False) for name in numbers if whole[name].null_count}
    parts = [whole[name].fill_null(0).to_numpy(zero_copy_only=False).view(np.int64) for name in numbers]
    words = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    starts = {name: position * table.num_rows for position, name in enumerate(numbers)}
    absent = _absent(starts, table.num_rows)
    return SegmentRows(table.num_rows, words, starts, missing | absent, {name: whole[name] for name in TEXTS})


def _described(content: bytes, place: str) -> tuple[pa.Table, _Layout | None]:
    """A file's table, of which nothing is copied, and its layout, if its numbers can be read in place."""
    buffer = pa.py_buffer(content)
    try:
        table = pa.ipc.open_file(pa.BufferReader(buffer)).read_all()
    except pa.ArrowInvalid as error:
        raise StorageError(f"the rows of {place} are no Arrow file: {error}") from error
    version = (table.schema.metadata or {}).get(VERSION_KEY, b"none").decode()
    if version != str(ROWS_VERSION):
        raise RowsError(
            f"{place} has rows of version {version}; this raystudy reads {ROWS_VERSION}; "
            "read them with the raystudy that wrote them, or train anew"
        )
    lacking = [name for name, kind in KINDS.items() if kind is not float and name not in table.column_names]
    if lacking:
        raise RowsError(f"{place} has rows without {', '.join(lacking)}; it was not written by raystudy")
    return table, _layout(content, table, buffer)


def _layout(content: bytes, table: pa.Table, buffer: pa.Buffer) -> _Layout | None:
    """None where columns lie in several pieces, or are compressed, or not of the types that we write."""
    if table.num_rows == 0 or any(column.num_chunks != 1 for column in table.columns):
        return None
    used: list[slice] = []

    def place(part: pa.Buffer) -> slice:
        begin = part.address - buffer.address
        used.append(slice(begin, begin + part.size))
        return used[-1]

    starts: dict[str, int] = {}
    texts, validity = {}, {}
    for name, kind in KINDS.items():
        if name not in table.column_names:
            continue
        array = table.column(name).chunk(0)
        bits, *parts = array.buffers()
        places = [place(part) for part in parts]
        if array.type != _ARROW[kind] or array.offset or (array.null_count and kind is str):
            return None
        if kind is str:
            texts[name] = (places[0], places[1])
        else:
            starts[name], odd = divmod(places[0].start, _WORD)
            if odd:
                return None
        if array.null_count:
            validity[name] = place(bits)
    first, last = min(part.start for part in used), max(part.stop for part in used)
    if first < 0 or last > len(content):
        return None  # not in the file: it was compressed
    absent = _absent(starts, table.num_rows)
    return _Layout(content[:first], content[last:], table.num_rows, starts, texts, validity, absent, {})


def _absent(starts: dict[str, int], num_rows: int) -> dict[str, Array]:
    """Give a place to the columns that files from before they were added do not have; no value there counts."""
    lacking = [name for name in NUMBERS if name not in starts]
    starts |= dict.fromkeys(lacking, starts["iteration"])
    return dict.fromkeys(lacking, np.ones(num_rows, bool))


def _part(buffer: pa.Buffer, place: slice) -> pa.Buffer:
    return buffer.slice(place.start, place.stop - place.start)


def _combined(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    return pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found
