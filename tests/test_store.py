"""Storage: whole or not there, the newest attempt only, rows exactly once."""

import math
from pathlib import Path

import pytest

from raystudy import atomic, store
from raystudy.errors import CorruptCheckpointError, FencedError, RowsError, StorageError
from raystudy.files import Files
from raystudy.records import (
    EvalRow,
    Row,
    SegmentRef,
    TrainRow,
    TrialRecord,
    TrialState,
    check_rows,
    expected_iterations,
    read_rows,
    write_rows,
)
from raystudy.segment_store import SegmentStore
from raystudy.store import Store
from tests.segment_files import checkpoint_file


def _row(iteration: int, split: str = "train", segment_id: str = "a") -> Row:
    kind = TrainRow if split == "train" else EvalRow
    return kind(segment_id=segment_id, iteration=iteration, lr=0.1, global_batch=4, workers=1, loss=1.0)


def _write_state(text: str = "weights") -> "object":
    def write(folder: Path) -> None:
        (folder / "state.pt").write_text(text)

    return write


def _segment(tmp_path: Path) -> SegmentStore:
    return Store.open(tmp_path / "storage", create=True).segment("a")


def _commit(segment: SegmentStore, attempt: int, iteration: int, text: str = "weights") -> None:
    rows = [_row(i) for i in range(10, iteration + 1, 10)]
    segment.commit(attempt, iteration, _write_state(text), rows)  # type: ignore[arg-type]


def test_a_storage_is_made_once_and_opened_again(tmp_path: Path) -> None:
    Store.open(tmp_path / "s", create=True).write_study("demo", {"name": "demo"})
    assert Store.open(tmp_path / "s").study_names() == ["demo"]


def test_a_folder_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StorageError, match="not empty and was not made by raystudy"):
        Store.open(tmp_path, create=True)
    with pytest.raises(StorageError, match="was not made by raystudy"):
        Store.open(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_a_storage_is_checked_without_being_made(tmp_path: Path) -> None:
    Store.check(tmp_path / "a" / "new")
    assert list(tmp_path.iterdir()) == []
    Store.open(tmp_path / "ours", create=True)
    Store.check(tmp_path / "ours")
    (tmp_path / "file").write_text("precious")
    with pytest.raises(StorageError, match="file is a file"):
        Store.check(tmp_path / "file" / "below")
    with pytest.raises(StorageError, match="not empty and was not made by raystudy"):
        Store.check(tmp_path)


def test_another_layout_and_misspelt_places_are_refused(tmp_path: Path) -> None:
    atomic.write_json(tmp_path / "raystudy.json", {"layout": 99})
    with pytest.raises(StorageError, match="layout 99"):
        Store.open(tmp_path)
    for misspelt in ("ftp://host/study", "s3:/bucket/study", "S3://bucket/study"):
        with pytest.raises(StorageError, match="no kind that is supported"):
            Store.open(misspelt, create=True)
    with pytest.raises(StorageError, match="names no bucket"):
        Store.open("s3:///study", create=True)


def test_a_study_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s", create=True)
    store.write_study("demo", {})
    with pytest.raises(StorageError, match="no study 'dome'; it has demo"):
        store.read_study("dome")


def test_a_commit_is_there_whole_with_its_rows(tmp_path: Path) -> None:
    segment = _segment(tmp_path)
    attempt = segment.begin_attempt().number
    _commit(segment, attempt, 20)
    assert segment.checkpoints() == [20]
    assert (segment.load(20) / "state.pt").read_text() == "weights"
    assert [row.iteration for row in segment.rows()] == [10, 20]
    assert segment.committed_iteration() == 20


def test_a_commit_that_dies_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    segment = _segment(tmp_path)
    attempt = segment.begin_attempt().number

    def dies(folder: Path) -> None:
        (folder / "state.pt").write_text("half")
        raise OSError("no space left on device")

    with pytest.raises(StorageError, match="no space"):
        segment.commit(attempt, 10, dies, [])
    assert segment.checkpoints() == []
    assert segment.files.tree(f"{segment.folder}/checkpoints") == []


def test_an_older_attempt_can_neither_commit_nor_finish(tmp_path: Path) -> None:
    segment = _segment(tmp_path)
    old, new = segment.begin_attempt().number, segment.begin_attempt().number
    _commit(segment, new, 10, "new")
    with pytest.raises(FencedError, match="attempt 2 has taken over from attempt 1"):
        _commit(segment, old, 10, "old")
    with pytest.raises(FencedError):
        segment.finish(old, {"state": "complete", "iteration": 10}, [])
    assert (segment.load(10) / "state.pt").read_text() == "new"


def test_a_corrupt_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    segment = _segment(tmp_path)
    attempt = segment.begin_attempt().number
    for iteration in (10, 20, 30):
        _commit(segment, attempt, iteration)
    checkpoint_file(segment, 30).write_text("flipped")
    checkpoint_file(segment, 20, "rows.arrow").unlink()
    with pytest.raises(CorruptCheckpointError, match=r"state\.pt differ"):
        segment.load(30)
    found = segment.latest(at_most=30)
    assert found is not None
    assert found[0] == 10


def test_the_latest_checkpoint_is_never_beyond_what_is_asked(tmp_path: Path) -> None:
    segment = _segment(tmp_path)
    attempt = segment.begin_attempt().number
    for iteration in (10, 20, 30):
        _commit(segment, attempt, iteration)
    found = segment.latest(at_most=25)
    assert found is not None
    assert found[0] == 20
    assert segment.latest(at_most=5) is None


def test_pruning_keeps_forks_and_the_newest(tmp_path: Path) -> None:
    segment = _segment(tmp_path)
    attempt = segment.begin_attempt().number
    for iteration in (10, 20, 30, 40, 50):
        _commit(segment, attempt, iteration)
    segment.prune(keep=(20,), last=2)
    assert segment.checkpoints() == [20, 40, 50]


def test_a_finished_segment_can_be_extended(tmp_path: Path) -> None:
    segment = _segment(tmp_path)
    attempt = segment.begin_attempt().number
    _commit(segment, attempt, 10)
    segment.finish(attempt, {"state": "complete", "iteration": 10}, [_row(10)])
    assert segment.is_done(10)
    assert not segment.is_done(20)
    _commit(segment, segment.begin_attempt().number, 20)
    assert [row.iteration for row in segment.rows()] == [10, 20]


def test_a_trials_rows_are_its_trunks_up_to_the_fork_and_its_own(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s", create=True)
    for name, iterations in (("trunk", (10, 20, 30)), ("branch", (20, 30, 40))):
        segment = store.segment(name)
        rows = [_row(iteration, segment_id=name) for iteration in iterations]
        segment.finish(segment.begin_attempt().number, {"state": "complete", "iteration": iterations[-1]}, rows)
    path = (SegmentRef(segment_id="trunk", start=0, end=10), SegmentRef(segment_id="branch", start=10, end=40))
    record = TrialRecord(trial_id="t", spec={}, segments=path, state=TrialState.COMPLETE)
    store.write_trial(record)
    assert store.read_trial("t") == record
    assert [(row.segment_id, row.iteration) for row in store.trial_rows(record)] == [
        ("trunk", 10),
        ("branch", 20),
        ("branch", 30),
        ("branch", 40),
    ]


def test_rows_survive_their_file_and_foreign_versions_are_refused(tmp_path: Path) -> None:
    import pyarrow as pa

    rows = [_row(10), _row(10, "val")]
    write_rows(tmp_path / "rows.arrow", rows)
    assert repr(read_rows(tmp_path / "rows.arrow")) == repr(rows)  # nan equals nan in print only
    table = pa.table({"iteration": [1]}).replace_schema_metadata({"raystudy_rows_version": "0"})
    with pa.OSFile(str(tmp_path / "old.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(RowsError, match="version 0"):
        read_rows(tmp_path / "old.arrow")
    (tmp_path / "torn.arrow").write_bytes(b"ARROW1")
    with pytest.raises(RowsError, match="not a file of rows"):
        read_rows(tmp_path / "torn.arrow")


def test_rows_from_before_a_column_was_added_have_nan_there(tmp_path: Path) -> None:
    import pyarrow as pa

    path = tmp_path / "rows.arrow"
    write_rows(path, [EvalRow(segment_id="s", iteration=2, lr=0.1, global_batch=2, workers=1, loss=1.0, box_ap=30.0)])
    with pa.OSFile(str(path), "rb") as source:
        table = pa.ipc.open_file(source).read_all().drop_columns(["train_box_ap", "train_mask_ap"])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    (row,) = read_rows(path)
    assert isinstance(row, EvalRow)
    assert row.box_ap == 30.0
    assert math.isnan(row.train_box_ap)


def test_holes_and_duplicates_in_rows_are_refused() -> None:
    good = [_row(5), _row(10), _row(10, "val"), _row(12), _row(12, "val")]
    check_rows(good, start=0, end=12, eval_interval=10, log_interval=5)
    for bad in (good[1:], [*good, _row(12)], [good[1], good[0], *good[2:]]):
        with pytest.raises(RowsError, match="not exactly once"):
            check_rows(bad, start=0, end=12, eval_interval=10, log_interval=5)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 30, [10, 20, 30]), (10, 35, [20, 30, 35]), (10, 10, []), (0, 4, [4])],
)
def test_rows_fall_on_the_grid_and_on_the_end(start: int, end: int, expected: list[int]) -> None:
    assert expected_iterations(start, end, 10) == expected


def test_a_storage_that_another_process_has_just_made_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    layout = store._layout

    def seen_before_it_was_made(files: Files) -> int | None:
        looks.append(files)
        return None if len(looks) == 1 else layout(files)

    Store.open(tmp_path / "storage", create=True).write_study("first", {"name": "first"})
    monkeypatch.setattr(store, "_layout", seen_before_it_was_made)
    assert Store.open(tmp_path / "storage", create=True).study_names() == ["first"]
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").write_text("all my work")
    with pytest.raises(StorageError, match="not empty and was not made by raystudy"):
        Store.open(tmp_path / "foreign", create=True)
