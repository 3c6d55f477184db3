"""Reading ahead of training in processes of its own."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from raystudy.data import pulse

T = TypeVar("T")


def ahead(read: Callable[[int], T], indices: Sequence[int], processes: int) -> Iterator[T]:
    """``read`` of every index in turn; with processes the same bits, made before they are asked for.

    Args:
        read: what a process runs.
        indices: in the order in which results are wanted.
        processes: that read; 0 reads here, when asked.
    """
    made: Iterable[T] = map(read, indices)
    if processes:
        made = DataLoader(_Indexed(read), batch_size=None, sampler=indices, num_workers=processes)
    for result in made:
        pulse.beat()
        yield result


class _Indexed(Dataset[T], Generic[T]):
    """What a loader process runs."""

    def __init__(self, read: Callable[[int], T]) -> None:
        self._read = read

    def __getitem__(self, index: int) -> T:
        torch.set_num_threads(1)
        return self._read(index)
