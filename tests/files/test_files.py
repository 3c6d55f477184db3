"""Every kind of storage does the same with files."""

import threading
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from raystudy.atomic import write_json
from raystudy.errors import CorruptCheckpointError, StorageError
from raystudy.files import Files, open_files, storage_location
from raystudy.files.objects import ObjectFiles


@pytest.fixture(params=["folder", "memory", "s3"])
def files(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    if request.param == "s3":
        return open_files(request.getfixturevalue("s3"))
    monkeypatch.setenv("RAYSTUDY_CACHE", str(tmp_path / "cache"))
    if request.param == "memory":
        return ObjectFiles("s3://memory/study", MemoryStore())
    return open_files(tmp_path / "storage")


def _fill(text: str) -> "object":
    def fill(folder: Path) -> None:
        (folder / "state.pt").write_text(text)
        (folder / "rows.arrow").write_bytes(text.encode() * 3)

    return fill


def _publish(files: Files, text: str, **kind: bool) -> bool:
    return files.publish("a/10.1", _fill(text), **kind)  # type: ignore[arg-type]


def test_files_are_written_replaced_listed_and_removed(files: Files) -> None:
    assert files.read("trials/a.json") is None
    files.write_json("trials/a.json", {"state": 1})
    files.write_json("trials/a.json", {"state": 2})
    files.write("trials/.hidden", b"")
    files.write("trials/deep/er/b", b"bb")
    assert files.read_json("trials/a.json") == {"state": 2}
    assert files.names("") == ["trials"]
    assert files.names("trials") == ["a.json", "deep"]
    assert files.names("trial") == files.names("none") == []
    assert files.tree("trials") == ["a.json", "deep/er/b"]
    assert files.size("trials/deep") == 2
    files.remove("trials/deep")
    files.remove("trials/none")
    assert files.tree("trials") == ["a.json"]


def test_exactly_one_of_several_makes_a_file(files: Files) -> None:
    won = []

    def make(number: int) -> None:
        if files.create("attempts/1.json", f"made by {number}".encode()):
            won.append(number)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [files.read("attempts/1.json")] == [f"made by {number}".encode() for number in won]
    assert files.create("attempts/1.json", f"made by {won[0]}".encode()), "asked again after a lost answer"


def test_a_published_folder_is_there_whole_and_replaced_whole(files: Files) -> None:
    assert not files.is_published("a/10.1")
    assert _publish(files, "first")
    kept = files.fetch("a/10.1")
    assert (kept / "state.pt").read_text() == "first"
    assert files.read_in("a/10.1", "rows.arrow") == b"first" * 3
    assert files.read_in("a/10.1", "none") is None
    assert _publish(files, "second")
    assert (files.fetch("a/10.1") / "state.pt").read_text() == "second"
    assert not _publish(files, "third", exclusive=True)
    assert files.read_in("a/10.1", "state.pt") == b"second"
    assert len([path for path in files.tree("a") if path.endswith("state.pt")]) == 1, "nothing of the others is left"
    files.remove("a/10.1")
    assert not files.is_published("a/10.1")
    assert _publish(files, "fourth", exclusive=True)
    with pytest.raises(CorruptCheckpointError, match="has no manifest"):
        files.fetch("a/10.2")


def test_what_dies_before_it_is_whole_is_not_seen_and_swept_later(files: Files) -> None:
    def dies() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.publish("a/10.1", _fill("half"), allowed=dies)  # type: ignore[arg-type]
    assert not files.is_published("a/10.1")
    assert _publish(files, "whole")
    files.sweep(0.0)
    assert (files.fetch("a/10.1") / "state.pt").read_text() == "whole"
    assert len(files.tree("a")) == 3


def test_a_damaged_file_is_told_and_never_given(files: Files) -> None:
    _publish(files, "whole")
    (path,) = (path for path in files.tree("a") if path.endswith("state.pt"))
    files.write(f"a/{path}", b"whole"[::-1])
    with pytest.raises(CorruptCheckpointError, match=r"state\.pt"):
        files.fetch("a/10.1")
    with pytest.raises(CorruptCheckpointError, match=r"state\.pt"):
        files.read_in("a/10.1", "state.pt")
    files.remove(f"a/{path}")
    with pytest.raises(CorruptCheckpointError, match=r"state\.pt"):
        files.fetch("a/10.1")


def test_a_log_has_every_line_in_order(files: Files) -> None:
    for number in range(12):
        files.append("logs/a.jsonl", f"line {number}")
    assert files.lines("logs/a.jsonl") == [f"line {number}" for number in range(12)]
    assert files.lines("logs/b.jsonl") == []


@pytest.mark.parametrize("path", ["../a", "a/../../b", "/etc/passwd", "a//b", "a/.", "", "a\\..\\b", "a\0"])
def test_no_path_leads_out_of_the_storage(files: Files, path: str) -> None:
    for use in (files.read, files.remove, files.fetch, lambda p: files.write(p, b""), lambda p: files.create(p, b"")):
        with pytest.raises(StorageError, match="no path within"):
            use(path)


def test_a_manifest_that_names_files_elsewhere_is_refused(files: Files) -> None:
    files.write_json("a/10.1/manifest.json", {"sha256": {"../../../secret": "0"}})
    with pytest.raises(CorruptCheckpointError, match="names files elsewhere"):
        files.fetch("a/10.1")
    with pytest.raises(CorruptCheckpointError, match="names files elsewhere"):
        files.read_in("a/10.1", "../../../secret")


def test_one_storage_has_one_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage_location("runs") == storage_location(f"file://{tmp_path}/runs") == str(tmp_path / "runs")
    assert storage_location("s3://bucket//a/b/") == "s3://bucket/a/b"
    with pytest.raises(StorageError, match=r"has \. or \.\."):
        storage_location("gs://bucket/a/../b")


def test_a_local_copy_of_an_object_store_and_the_other_way_round_are_read(s3: str, tmp_path: Path) -> None:
    remote, local = open_files(s3), open_files(tmp_path / "copy")
    _publish(remote, "whole")
    for path in remote.tree("a"):
        local.write(f"a/{path}", remote.read(f"a/{path}") or b"")
    assert (local.fetch("a/10.1") / "state.pt").read_text() == "whole"
    assert local.read_in("a/10.1", "state.pt") == b"whole"
    folder = tmp_path / "plain" / "a" / "10.1"
    folder.mkdir(parents=True)
    (folder / "state.pt").write_text("plain")
    write_json(folder / "manifest.json", {"sha256": {"state.pt": _sha(b"plain")}})
    for path in folder.iterdir():
        remote.write(f"b/{path.name}", path.read_bytes())
    assert (remote.fetch("b") / "state.pt").read_text() == "plain"


def _sha(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()
