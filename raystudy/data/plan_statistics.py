"""What the training sets of a plan hold, where that is known in a moment."""

import dataclasses
import functools
from typing import Any

from raystudy.data.coco import CocoDataset
from raystudy.data.index_cache import KEPT_BYTES, index_path
from raystudy.data.shapes import is_rendered
from raystudy.data.splits import drawn_shapes, open_split, split_source
from raystudy.data.staging import is_staged
from raystudy.data.subset import statistics_of, training_part
from raystudy.errors import DataError
from raystudy.spec.data import DataSpec


def quick_statistics(data: DataSpec) -> dict[str, Any] | None:
    """As ``statistics_of`` the training set.

    None where it would take long: shapes that are not rendered yet, an object store that is not copied yet, large
    annotations that are not indexed yet; and where the data cannot be used, which is preflight's to say.
    """
    try:
        if not _is_at_hand(data):
            return None
        return statistics_of(training_part(_whole(_whole_of(data)), data))
    except DataError:
        return None


def _is_at_hand(data: DataSpec) -> bool:
    if data.format == "shapes":
        return is_rendered(drawn_shapes(data))
    if not data.train_annotations or (data.remote and not is_staged(data.remote, data.remote_version)):
        return False
    source = split_source(data, "train")
    return source.num_bytes() < KEPT_BYTES or (bool(source.checksum) and index_path(source).is_file())


def _whole_of(data: DataSpec) -> DataSpec:
    """The spec with all of its pictures: the sizes of a study share one reading."""
    return dataclasses.replace(data, fraction=1.0, num_images=None, stratified=False)


@functools.lru_cache(maxsize=4)
def _whole(data: DataSpec) -> CocoDataset:
    return open_split(data, "train")
