"""Where the pictures of a batch go; what a batch holds is tested with what makes it."""

import contextlib
from collections.abc import Iterator
from unittest import mock

import pytest
import torch

import raystudy.data.batch as batches
from raystudy.data.batch import Batch, sent


def test_a_batch_goes_to_another_device_with_its_layout_and_all_else_as_it_is() -> None:
    batch = Batch(torch.zeros(2, 3, 8, 8).contiguous(memory_format=torch.channels_last), [(8, 8)] * 2, [], [1, 2], [])
    there = batch.to(torch.device("meta"))
    assert there.images.device.type == "meta"
    assert there.images.stride() == batch.images.stride()
    assert (there.sizes, there.image_ids) == (batch.sizes, batch.image_ids)
    assert batch.to(torch.device("cpu")) is batch


class _Streams:
    """What a GPU's streams are told, in order, without a GPU."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[str] = []
        self.current = "computing"
        copying, computing = mock.Mock(), mock.Mock()
        computing.wait_stream.side_effect = lambda other: self.told.append(f"computing waits: {other is copying}")
        monkeypatch.setattr(batches, "_copy_stream", lambda device: copying)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: computing)
        monkeypatch.setattr(torch.cuda, "stream", self.within)
        self.images = mock.Mock()
        self.images.pin_memory.return_value.to.side_effect = self.copied
        self.there = mock.Mock()
        self.there.record_stream.side_effect = lambda stream: self.told.append(f"recorded: {stream is computing}")

    @contextlib.contextmanager
    def within(self, stream: object) -> Iterator[None]:
        self.current = "copying"
        yield
        self.current = "computing"

    def copied(self, device: torch.device, non_blocking: bool) -> mock.Mock:
        self.told.append(f"copied in {self.current}, non_blocking {non_blocking}")
        return self.there


def test_a_gpu_gets_pictures_from_pinned_memory_in_a_stream_for_which_the_computing_one_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = _Streams(monkeypatch)
    assert sent(streams.images, torch.device("cuda")) is streams.there
    assert streams.told == ["copied in copying, non_blocking True", "computing waits: True", "recorded: True"]
