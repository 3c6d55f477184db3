import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from raystudy.data import index_cache
from raystudy.data.array_file import BrokenFileError, map_arrays, write_arrays
from raystudy.data.coco import CocoDataset
from raystudy.data.index_cache import index_path, open_index
from raystudy.data.sources import Source, file_checksum
from raystudy.data.split_index import SplitIndex
from raystudy.errors import DataError
from tests.data.synthetic import annotation, coco_content, shared, write_coco

RLE = {"size": [30, 40], "counts": [300, 60, 840]}


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(index_cache, "KEPT_BYTES", 1)
    monkeypatch.setenv("RAYSTUDY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares a test that is not about the process that indexes its start."""
    monkeypatch.setattr(
        index_cache, "_make_in_child", lambda source, path: SplitIndex.build(source.read_checked()).save(path)
    )


def source_of(folder: Path, **changes: object) -> Source:
    content = coco_content(**changes)
    content["annotations"] += [annotation(4) | {"segmentation": RLE}, annotation(5, x=35, w=20)]
    path = write_coco(folder, content)
    return Source("coco", folder / "images", str(path), checksum=file_checksum(path))


def same(first: CocoDataset, second: CocoDataset) -> None:
    assert (first.image_ids, first.categories, first.repairs) == (second.image_ids, second.categories, second.repairs)
    for index in range(len(first)):
        one, other = first.instances(index), second.instances(index)
        assert first.file_name(index) == second.file_name(index)
        assert np.array_equal(one.boxes, other.boxes)
        assert np.array_equal(one.labels, other.labels)
        assert (one.masks is None) == (other.masks is None)
        if one.masks is not None and other.masks is not None:
            height, width = int(first.heights[index]), int(first.widths[index])
            assert np.array_equal(one.masks.window(width, height), other.masks.window(width, height))
        if one.keypoints is not None:
            assert np.array_equal(one.keypoints, other.keypoints)


def test_a_kept_index_is_the_parsed_one(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    kept = open_index(source)
    assert kept.path == index_path(source)
    parsed = SplitIndex.build(source.read_checked())
    assert parsed.path is None
    same(CocoDataset(source, kept), CocoDataset(source, parsed))
    assert kept.repairs == {"boxes clipped to their picture": 1}


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(
    ("folder", "name"), [("coco_person1", "person_keypoints_val.json"), ("dsb2018_small", "instances_val_rle.json")]
)
def test_a_kept_index_of_real_data_is_the_parsed_one(folder: str, name: str) -> None:
    root = shared(folder)
    source = Source("coco", root / "images", str(root / name), checksum=file_checksum(root / name))
    same(CocoDataset(source, open_index(source)), CocoDataset.load(root / "images", root / name))


def test_it_is_made_once_and_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_of(tmp_path)
    open_index(source)
    # Whatever now asks for it finds it, even where the annotations are gone.
    monkeypatch.setattr(index_cache, "_make_in_child", lambda *_: pytest.fail("made again"))
    index = open_index(source)
    with pytest.raises(ValueError, match="read-only"):
        index.annotations.boxes[0] = 0


def test_many_processes_at_once_make_one_index(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    program = """
import logging, sys
from pathlib import Path
from raystudy.data import index_cache
from raystudy.data.sources import Source

logging.basicConfig(level="INFO", stream=sys.stdout)
index_cache.KEPT_BYTES = 1
index = index_cache.open_index(Source("coco", Path(sys.argv[1]), sys.argv[2], checksum=sys.argv[3]))
print(len(index.image_ids))
"""
    command = [sys.executable, "-c", program, str(source.images_dir), source.annotations, source.checksum]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = "".join(process.communicate(timeout=120)[0] for process in started)
    assert [process.returncode for process in started] == [0, 0, 0]
    assert said.count("indexing") == 1
    assert said.count("2\n") == 3


@pytest.mark.usefixtures("in_this_process")
def test_a_broken_index_is_made_again(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    whole = open_index(source)
    path = index_path(source)
    data = path.read_bytes()
    for broken in (b"", data[:40], data[:-7], b"rubbish\n" + data):
        path.unlink()
        path.write_bytes(broken)
        again = open_index(source)
        assert np.array_equal(again.annotations.boxes, whole.annotations.boxes)
        assert path.read_bytes() == data


def test_problems_come_back_from_the_process_that_indexes(tmp_path: Path) -> None:
    source = source_of(tmp_path, categories=[{"id": 5, "name": "nut"}])
    with pytest.raises(DataError, match="annotations have an unknown category"):
        open_index(source)
    assert not index_path(source).exists()
    other = Source("coco", source.images_dir, source.annotations, checksum="sha256-0")
    with pytest.raises(DataError, match="annotations were changed"):
        open_index(other)


@pytest.mark.usefixtures("in_this_process")
def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in its place")
    with pytest.raises(DataError, match="set RAYSTUDY_CACHE"):
        open_index(source_of(tmp_path))


@pytest.mark.usefixtures("in_this_process")
def test_a_mapped_data_set_travels_as_a_path_and_a_parsed_one_whole(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    mapped, parsed = open_index(source), SplitIndex.build(source.read_checked())
    assert len(pickle.dumps(mapped)) < 500
    for index in (mapped, parsed):
        same(CocoDataset(source, pickle.loads(pickle.dumps(index))), CocoDataset(source, index))


def test_arrays_of_any_shape_come_back(tmp_path: Path) -> None:
    arrays = {
        "empty": np.zeros((0, 3), np.float32),
        "flags": np.array([True, False]),
        "cube": np.arange(24, dtype=np.int16).reshape(2, 3, 4)[:, ::2],
        "number": np.array(7, dtype=np.int64),
    }
    write_arrays(tmp_path / "a.arrays", arrays, {"names": ["ä"]})
    found, about = map_arrays(tmp_path / "a.arrays")
    assert about == {"names": ["ä"]}
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
    (tmp_path / "b.arrays").write_text(json.dumps({"arrays": {}}))
    with pytest.raises(BrokenFileError):
        map_arrays(tmp_path / "b.arrays")


def test_the_process_that_indexes_starts_without_torch() -> None:
    program = "import raystudy.data.index_cache, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
