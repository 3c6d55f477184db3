"""The machine's resized pictures: the same bits, within a bound, whatever happens to the processes."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from raystudy.data import picture_store
from raystudy.data.picture_store import PictureStore, open_store
from raystudy.spec.data import DataSpec
from tests.data.synthetic import shapes_spec

SIZE = (12, 16)
BYTES = 12 * 16 * 3


def picture(seed: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def files(folder: Path, number: int) -> list[Path]:
    """So many different files; their pixels do not matter here."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{index}.png" for index in range(number)]
    for index, path in enumerate(paths):
        Image.fromarray(picture(index, (6, 8))).save(path)
    return paths


def kept_files(root: Path) -> list[Path]:
    return [path for path in root.glob("*/*/*") if not path.name.startswith(".")]


def never() -> NDArray[np.uint8]:
    raise AssertionError("the picture was to be kept")


def counting(made: list[int], seed: int) -> Callable[[], NDArray[np.uint8]]:
    def make() -> NDArray[np.uint8]:
        made.append(seed)
        return picture(seed)

    return make


def test_a_picture_is_made_once_and_then_comes_from_the_store_of_any_process(tmp_path: Path) -> None:
    (path,) = files(tmp_path / "in", 1)
    first = PictureStore(10 * BYTES, tmp_path / "store").get(path, (6, 8), SIZE, lambda: picture(3))
    again = PictureStore(10 * BYTES, tmp_path / "store").get(path, (6, 8), SIZE, never)
    assert np.array_equal(first, picture(3))
    assert np.array_equal(again, picture(3))
    again[:] = 0  # a page that is written to is this process' own
    assert np.array_equal(PictureStore(0, tmp_path / "store").get(path, (6, 8), SIZE, never), picture(3))


def test_the_name_stands_for_content_sizes_and_makers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = files(tmp_path / "in", 2)
    store = PictureStore(10 * BYTES, tmp_path / "store")
    store.get(path, (6, 8), SIZE, lambda: picture(0))
    copy = tmp_path / "copy.png"
    copy.write_bytes(path.read_bytes())
    assert np.array_equal(store.get(copy, (6, 8), SIZE, never), picture(0)), "the same bytes elsewhere"
    assert np.array_equal(store.get(path, (8, 6), SIZE, lambda: picture(1)), picture(1)), "turned"
    assert store.get(path, (6, 8), (16, 12), lambda: picture(2, (16, 12))).shape == (16, 12, 3)
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(1, 1))
    assert np.array_equal(store.get(path, (6, 8), SIZE, lambda: picture(4)), picture(4)), "other bytes"
    monkeypatch.setattr(picture_store, "PIXELS_VERSION", -1)
    newer = PictureStore(10 * BYTES, tmp_path / "store")
    assert np.array_equal(newer.get(copy, (6, 8), SIZE, lambda: picture(5)), picture(5)), "another version"


def test_what_is_full_takes_no_more_and_drops_nothing(tmp_path: Path) -> None:
    paths = files(tmp_path / "in", 4)
    made: list[int] = []
    store = PictureStore(2 * BYTES + 1, tmp_path / "store")
    for _ in range(3):
        for seed, path in enumerate(paths):
            assert np.array_equal(store.get(path, (6, 8), SIZE, counting(made, seed)), picture(seed))
    assert made == [0, 1, 2, 3, 2, 3, 2, 3]
    assert len(kept_files(tmp_path / "store")) == 2
    larger = PictureStore(3 * BYTES, tmp_path / "store")
    larger.get(paths[2], (6, 8), SIZE, lambda: picture(2))
    assert np.array_equal(larger.get(paths[2], (6, 8), SIZE, never), picture(2))


def test_reservations_of_killed_processes_are_given_back(tmp_path: Path) -> None:
    (path,) = files(tmp_path / "in", 1)
    store = PictureStore(BYTES, tmp_path / "store")
    (tmp_path / "store" / "bytes").write_text(str(BYTES))
    store.get(path, (6, 8), SIZE, lambda: picture(0))
    assert np.array_equal(store.get(path, (6, 8), SIZE, never), picture(0))


def test_outdated_versions_make_room_and_half_written_pictures_go(tmp_path: Path) -> None:
    (path,) = files(tmp_path / "in", 1)
    old, part = tmp_path / "store" / "old" / "ab" / "ab", tmp_path / "store" / "new" / "ab" / ".ab.1.part"
    for file in (old, part):
        file.parent.mkdir(parents=True)
        file.write_bytes(bytes(BYTES))
    os.utime(old.parent.parent, (1, 1))
    os.utime(part, (1, 1))
    PictureStore(BYTES, tmp_path / "store").get(path, (6, 8), SIZE, lambda: picture(0))
    assert not old.exists()
    assert not part.exists()
    assert len(kept_files(tmp_path / "store")) == 1


def test_cut_files_are_made_again_and_missing_pictures_are_left_to_the_maker(tmp_path: Path) -> None:
    (path,) = files(tmp_path / "in", 1)
    root = tmp_path / "store"
    PictureStore(10 * BYTES, root).get(path, (6, 8), SIZE, lambda: picture(0))
    (kept,) = kept_files(root)
    kept.write_bytes(kept.read_bytes()[:-1])
    assert np.array_equal(PictureStore(10 * BYTES, root).get(path, (6, 8), SIZE, lambda: picture(0)), picture(0))
    path.unlink()
    made: list[int] = []
    PictureStore(10 * BYTES, root).get(path, (6, 8), SIZE, counting(made, 7))
    assert made == [7]


def test_a_folder_that_cannot_be_written_costs_only_the_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = files(tmp_path / "in", 2)
    (tmp_path / "store").write_text("no folder")
    store = PictureStore(10 * BYTES, tmp_path / "store")
    for seed, each in enumerate((path, other)):
        assert np.array_equal(store.get(each, (6, 8), SIZE, counting([], seed)), picture(seed))
    assert caplog.text.count("no longer kept") == 1
    monkeypatch.setattr(picture_store, "KEPT_FREE", 1 << 62)
    roomy = PictureStore(10 * BYTES, tmp_path / "full disk")
    roomy.get(path, (6, 8), SIZE, lambda: picture(0))
    assert not kept_files(tmp_path / "full disk")


def test_shapes_need_no_store_and_nobody_must_have_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSTUDY_CACHE", str(tmp_path))
    real = DataSpec(format="coco")
    assert open_store(shapes_spec(), None) is None
    assert open_store(real, 0) is None
    assert not list(tmp_path.iterdir())
    (path,) = files(tmp_path / "in", 1)
    monkeypatch.setattr(picture_store, "KEPT_FREE", 0)
    for number, (gib, is_kept) in enumerate([(BYTES / 2**30, True), ((BYTES - 1) / 2**30, False), (None, True)]):
        monkeypatch.setattr(picture_store, "PIXELS_VERSION", -number)
        monkeypatch.setattr(picture_store, "OUTDATED_S", -1.0)
        store = open_store(real, gib)
        assert store is not None
        store.get(path, (6, 8), SIZE, lambda: picture(0))
        again: list[int] = []
        store.get(path, (6, 8), SIZE, counting(again, 0))
        assert (not again) == is_kept


def fill(folder: Path, root: Path, max_bytes: int, rounds: int) -> None:
    """What a process does: exit status 0 when every picture was right."""
    store = PictureStore(max_bytes, root)
    for number in range(rounds):
        for path in sorted(folder.iterdir()):
            value, size = int(path.stem), (300, 400 + number)
            found = store.get(path, (6, 8), size, partial(np.full, (*size, 3), value, dtype=np.uint8))
            assert found.shape == (*size, 3)
            assert (found == value).all()


def test_processes_that_fill_it_together_and_are_killed_leave_whole_pictures_within_the_bound(tmp_path: Path) -> None:
    files(tmp_path / "in", 10)
    root, bound = tmp_path / "store", 25 * 300 * 420 * 3
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=fill, args=(tmp_path / "in", root, bound, rounds)) for rounds in (10_000, 3)]
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + 60
    while len(kept_files(root)) < 12 and time.monotonic() < deadline:
        time.sleep(0.01)
    writers[0].kill()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [-signal.SIGKILL, 0]
    kept = kept_files(root)
    assert len(kept) >= 12
    assert sum(path.stat().st_size for path in kept) <= bound
    for path in kept:
        height, width = map(int, path.name.split("-")[2].split("x"))
        assert path.stat().st_size == height * width * 3
        assert len(set(path.read_bytes())) == 1
