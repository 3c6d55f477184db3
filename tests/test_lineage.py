"""Fencing: whatever a cut-off process writes after its successor has begun changes nothing, on every storage."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from raystudy.atomic import publish_folder, write_json
from raystudy.errors import CorruptCheckpointError, FencedError
from raystudy.lineage import Commit, Lineage
from raystudy.records import Row, TrainRow, write_rows
from raystudy.segment_store import SegmentStore
from raystudy.store import Store
from tests.segment_files import checkpoint_file


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store.open(request.getfixturevalue("s3") if request.param == "s3" else tmp_path / "storage", create=True)


@pytest.fixture
def segment(store: Store) -> SegmentStore:
    return store.segment("a")


class Text:
    """Matches, by whom they were written."""

    def __init__(self, text: str) -> None:
        self._text = text

    def save(self, path: Path) -> None:
        """One file."""
        path.write_text(self._text)


def _rows(until: int, loss: float) -> list[Row]:
    return [
        TrainRow(segment_id="a", iteration=i, lr=0.1, global_batch=4, workers=1, loss=loss)
        for i in range(10, until + 1, 10)
    ]


def _state(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "state.pt").write_text(text) and None


def _commit(segment: SegmentStore, attempt: int, iteration: int, text: str, loss: float) -> None:
    segment.commit(attempt, iteration, _state(text), _rows(iteration, loss))


def _result(state: str, iteration: int) -> dict[str, object]:
    return {"state": state, "iteration": iteration, "error": "", "wall_time_s": 1.0}


def _blind(segment: SegmentStore, monkeypatch: pytest.MonkeyPatch) -> SegmentStore:
    """The same segment as a process sees it whose every look at the fence was before its successor began."""
    zombie = SegmentStore(segment.files, segment.segment_id)
    monkeypatch.setattr(zombie, "check_fence", lambda attempt: None)
    return zombie


def test_nothing_counts_that_a_cut_off_process_writes_after_its_successor_has_begun(
    segment: SegmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = segment.begin_attempt().number
    _commit(segment, old, 10, "old", 1.0)
    _commit(segment, old, 20, "old", 1.0)
    zombie, begun = _blind(segment, monkeypatch), segment.begin_attempt()
    assert (begun.number, begun.start) == (2, 20)
    # Before the successor has committed anything, at the iterations that it is going to commit, and beyond.
    for iteration in (30, 40):
        _commit(zombie, old, iteration, "zombie", 9.0)
    zombie.keep_matches(old, 40, {"box": Text("zombie")})
    zombie.finish(old, _result("complete", 40), _rows(40, 9.0))
    assert segment.checkpoints() == [10, 20]
    assert segment.committed_iteration() == 20
    assert segment.result() is None
    assert segment.matches(40) is None
    assert {row.loss for row in segment.rows()} == {1.0}
    _commit(segment, begun.number, 30, "new", 2.0)
    segment.keep_matches(begun.number, 40, {"box": Text("new")})
    _commit(segment, begun.number, 40, "new", 2.0)
    segment.finish(begun.number, _result("complete", 40), _rows(40, 2.0))
    # And long after that, once more.
    zombie.keep_matches(old, 40, {"box": Text("zombie")})
    _commit(zombie, old, 50, "zombie", 9.0)
    zombie.finish(old, _result("failed", 50), _rows(50, 9.0))
    zombie.prune(keep=(), last=1)
    assert (segment.load(40) / "state.pt").read_text() == "new"
    assert segment.files.read_in(str(segment.matches(40)), "box.npz") == b"new"
    assert segment.result() == _result("complete", 40)
    assert segment.committed_iteration() == 40
    assert {row.loss for row in segment.rows()} == {2.0}
    segment.prune(keep=(), last=1)
    assert segment.files.names(f"{segment.folder}/checkpoints") == ["40.2"], "what does not count is deleted"


def test_a_process_that_looks_at_the_fence_stops(segment: SegmentStore) -> None:
    old = segment.begin_attempt().number
    segment.begin_attempt()
    for writes in (
        lambda: _commit(segment, old, 10, "old", 1.0),
        lambda: segment.keep_matches(old, 10, {"box": Text("old")}),
        lambda: segment.finish(old, _result("complete", 10), []),
    ):
        with pytest.raises(FencedError, match="attempt 2 has taken over from attempt 1"):
            writes()
    assert segment.checkpoints() == []
    assert not [path for path in segment.files.tree(segment.folder) if "attempts" not in path], "nothing is left"


def test_a_corrupt_checkpoint_is_passed_over_and_what_followed_from_it_counts_no_more(segment: SegmentStore) -> None:
    old = segment.begin_attempt().number
    for iteration in (10, 20):
        _commit(segment, old, iteration, "old", 1.0)
    (path,) = (p for p in segment.files.tree(segment.checkpoint(20)) if p.endswith("state.pt"))
    segment.files.write(f"{segment.checkpoint(20)}/{path}", b"flipped")
    begun = segment.begin_attempt()
    assert (begun.number, begun.start) == (2, 10)
    with pytest.raises(CorruptCheckpointError, match="no checkpoint at iteration 20"):
        segment.load(20)
    _commit(segment, begun.number, 20, "new", 2.0)
    assert (segment.load(20) / "state.pt").read_text() == "new"
    assert [event["event"] for event in segment.read_log()] == ["commit", "commit", "corrupt", "commit"]


def test_a_failure_counts_until_it_is_tried_again_and_success_stays(segment: SegmentStore) -> None:
    first = segment.begin_attempt().number
    _commit(segment, first, 10, "first", 1.0)
    segment.finish(first, _result("diverged", 10), _rows(10, 1.0))
    assert segment.result() == _result("diverged", 10)
    second = segment.begin_attempt().number
    assert segment.result() is None, "it is being tried again"
    _commit(segment, second, 20, "second", 1.0)
    segment.finish(second, _result("complete", 20), _rows(20, 1.0))
    segment.begin_attempt()
    assert segment.result() == _result("complete", 20)
    assert segment.is_done(20)


def test_a_shorter_run_takes_nothing_from_a_longer_one_that_was_cut_off(segment: SegmentStore) -> None:
    long = segment.begin_attempt().number
    for iteration in (10, 20, 30):
        _commit(segment, long, iteration, "long", 1.0)
    short = segment.begin_attempt(at_most=20)
    assert short.start == 20
    segment.finish(short.number, _result("complete", 20), _rows(20, 1.0))
    assert segment.checkpoints() == [10, 20, 30]
    assert segment.begin_attempt().start == 30


def test_of_many_that_begin_at_once_each_has_its_own_number(segment: SegmentStore) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: segment.begin_attempt().number, range(8)))
    assert sorted(numbers) == list(range(1, 9))


def test_a_storage_of_layout_1_is_read_and_gone_on_with(tmp_path: Path) -> None:
    folder = tmp_path / "segments" / "a"
    write_json(tmp_path / "raystudy.json", {"layout": 1})
    for attempt in (1, 2):
        write_json(folder / "attempts" / f"{attempt}.json", {"host": "h", "pid": 1, "time": 1})

    def fill(made: Path) -> None:
        (made / "state.pt").write_text("old")
        write_rows(made / "rows.arrow", _rows(20, 1.0))

    publish_folder(folder / "checkpoints" / "20", fill)
    write_rows(folder / "rows.arrow", _rows(20, 1.0))
    write_json(folder / "result.json", _result("complete", 20))
    (folder / "log.jsonl").write_text('{"event": "finish"}\n')
    segment = Store.open(tmp_path).segment("a")
    assert segment.is_done(20)
    assert [row.iteration for row in segment.rows()] == [10, 20]
    segment = Store.open(tmp_path, create=True).segment("a")
    assert segment.files.read_json("raystudy.json") == {"layout": 2}
    begun = segment.begin_attempt()
    assert (begun.number, begun.start) == (3, 20)
    _commit(segment, begun.number, 30, "new", 2.0)
    assert segment.checkpoints() == [20, 30]
    assert segment.is_done(20)
    segment.finish(begun.number, _result("complete", 30), _rows(30, 2.0))
    assert segment.is_done(30)
    assert [event["event"] for event in segment.read_log()] == ["finish", "commit"]


def _commit_until_killed(folder: Path) -> None:
    segment = Store.open(folder).segment("a")
    attempt = segment.begin_attempt().number
    for iteration in range(10, 100_000, 10):
        _commit(segment, attempt, iteration, "x" * 200_000, 1.0)


def test_a_process_killed_at_any_moment_leaves_only_whole_checkpoints(tmp_path: Path) -> None:
    store = Store.open(tmp_path, create=True)
    for _ in range(3):
        process = multiprocessing.get_context("spawn").Process(target=_commit_until_killed, args=(tmp_path,))
        process.start()
        before = len(store.segment("a").checkpoints())
        while len(store.segment("a").checkpoints()) < before + 3:
            pass
        os.kill(int(process.pid or 0), signal.SIGKILL)
        process.join()
        for iteration in store.segment("a").checkpoints():
            assert checkpoint_file(store.segment("a"), iteration).stat().st_size == 200_000
            store.segment("a").load(iteration)


@pytest.mark.parametrize(
    ("commit", "counts"),
    [("10.1", True), ("20.1", True), ("30.1", False), ("30.2", True), ("40.2", False), ("40.3", True), ("20", False)],
)
def test_what_counts_is_said_by_the_attempts_alone(commit: str, counts: bool) -> None:
    parsed = Commit.parse(commit)
    assert parsed is not None
    assert parsed.name == commit
    assert Lineage([1, 2, 3], {1: 0, 2: 20, 3: 30}.__getitem__).counts(parsed) is counts


@pytest.mark.parametrize("name", ["x", "10.x", "10.1.2", "-1", "", ".10", "60.partial"])
def test_other_names_are_no_commits(name: str) -> None:
    assert Commit.parse(name) is None
