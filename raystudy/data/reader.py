"""Where loaders take pictures from: this process' memory, the machine's store, or their files."""

from functools import partial

from raystudy.data.coco import CocoDataset
from raystudy.data.picture_store import PictureStore
from raystudy.data.transforms import Picture, Resizable, resize


class PictureReader:
    """The pictures of one data set at the sizes that are asked for; the same bits wherever they come from."""

    def __init__(
        self, dataset: CocoDataset, *, in_memory: bool, num_sizes: int = 1, store: PictureStore | None = None
    ) -> None:
        """A reader of ``dataset``.

        Args:
            dataset: whose pictures.
            in_memory: whether this process keeps pictures, within the data set's bound.
            num_sizes: sizes at which each is asked for; of several only what all are made from is kept in memory.
            store: of this machine; None keeps nothing beyond the process.
        """
        self._dataset, self._store = dataset, store
        self._keeps_resized, self._keeps_decoded = in_memory and num_sizes == 1, in_memory and num_sizes > 1

    def __call__(self, index: int) -> Resizable:
        """Picture ``index``, decoded no sooner than a size of it is asked for.

        Raises:
            DataError: as ``CocoDataset.image``, when a size is asked for.
        """
        return Resizable(self._dataset.size(index), partial(self._at, index))

    def _at(self, index: int, size: tuple[int, int]) -> Picture:
        if self._keeps_resized:
            return self._dataset.kept(index, size, lambda: self._stored(index, size))
        return self._stored(index, size)

    def _stored(self, index: int, size: tuple[int, int]) -> Picture:
        if self._store is None:
            return self._made(index, size)
        data = self._dataset
        return self._store.get(data.image_path(index), data.size(index), size, lambda: self._made(index, size))

    def _made(self, index: int, size: tuple[int, int]) -> Picture:
        data = self._dataset
        if self._keeps_decoded and self._store is None:
            return resize(data.kept(index, data.size(index), lambda: data.image(index)), size)
        return resize(data.image(index), size)
