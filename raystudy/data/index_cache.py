"""Indexes of annotations that are kept on disk, made once a machine and mapped by all of its processes."""

from raystudy.data.sources import Source
from raystudy.data.split_index import SplitIndex


def open_index(source: Source) -> SplitIndex:
    """The index of a split's annotations."""
    return SplitIndex.build(source.read_checked())
