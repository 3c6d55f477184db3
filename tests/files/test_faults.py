"""Storages that fail: for a while, for good, in the middle of something, or because they are full."""

import errno
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from raystudy.errors import StorageError
from raystudy.files import Files, open_files
from raystudy.store import Store
from tests.object_store import FaultyProxy, new_bucket, use, without_credentials


@pytest.fixture
def proxy(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FaultyProxy]:
    found = FaultyProxy(s3_endpoint)
    use(monkeypatch, found.address)
    monkeypatch.setenv("RAYSTUDY_CACHE", str(tmp_path / "cache"))
    yield found
    found.close()


@pytest.fixture
def files(proxy: FaultyProxy, s3_endpoint: str) -> Files:
    found = open_files(f"s3://{new_bucket(s3_endpoint)}/study")
    found.write("before", b"")
    return found


def _fill(folder: Path) -> None:
    (folder / "state.pt").write_bytes(b"weights" * 1000)


@pytest.mark.parametrize("fault", [503, 500, "reset"])
def test_a_store_that_fails_for_a_while_is_waited_for(files: Files, proxy: FaultyProxy, fault: int | str) -> None:
    back = time.monotonic() + 2.0
    proxy.fault = lambda method, path: fault if time.monotonic() < back else None
    assert files.create("attempts/1.json", b"mine")
    assert files.read("attempts/1.json") == b"mine"
    assert time.monotonic() > back
    back = time.monotonic() + 1.0
    assert files.publish("a/1.1", _fill)
    back = time.monotonic() + 1.0
    assert (files.fetch("a/1.1") / "state.pt").read_bytes() == b"weights" * 1000


def test_a_lost_answer_to_what_was_done_is_no_other_writer(files: Files, proxy: FaultyProxy) -> None:
    """The request arrives, its answer does not: asked again, the store says that there is one already."""
    answered: list[str] = []

    def lost_once(method: str, path: str) -> int | str | None:
        if method == "PUT" and not answered:
            answered.append(path)
            files_behind.write("attempts/1.json", b"mine")
            return 503
        return None

    files_behind = open_files(files.location)
    proxy.fault = lost_once
    assert files.create("attempts/1.json", b"mine")
    assert not files.create("attempts/1.json", b"another's")


def test_a_store_that_stays_away_is_told_with_its_place_and_cause(
    files: Files, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSTUDY_STORAGE_PATIENCE_S", "1")
    proxy.fault = lambda method, path: 503
    with pytest.raises(StorageError, match=r"storage s3://bucket-.*: a/b cannot be written for 1 s: .*503"):
        files.write("a/b", b"")


def test_a_publisher_that_dies_between_the_files_and_the_manifest_has_published_nothing(
    files: Files, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSTUDY_STORAGE_PATIENCE_S", "0.5")
    proxy.fault = lambda method, path: 503 if method == "PUT" and path.endswith("manifest.json") else None
    with pytest.raises(StorageError, match=r"manifest\.json cannot be written"):
        files.publish("a/1.1", _fill)
    proxy.fault = lambda method, path: None
    assert not files.is_published("a/1.1")
    assert [path.rpartition("/")[2] for path in files.tree("a")] == ["state.pt"], "what it left"
    assert files.publish("a/1.1", _fill)
    files.sweep(0.0)
    assert len(files.tree("a")) == 2


def test_mistakes_are_told_in_a_line(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAYSTUDY_STORAGE_PATIENCE_S", "1")
    use(monkeypatch, s3_endpoint)
    for use_it in (Store.open, Store.check):
        with pytest.raises(StorageError, match=r"there is no bucket no-such-bucket; make it, or correct the address$"):
            use_it("s3://no-such-bucket/study")
    use(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(StorageError, match=r"s3://bucket/study: raystudy\.json cannot be read for 1 s"):
        Store.open("s3://bucket/study")
    without_credentials(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StorageError, match="no credentials are found; set AWS_ACCESS_KEY_ID"):
        Store.open("s3://other-bucket/study")


def test_a_shared_folder_whose_server_is_away_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, back, whole = open_files(tmp_path), time.monotonic() + 1.0, os.replace

    def away(source: Path, target: Path) -> None:
        if time.monotonic() < back:
            raise OSError(errno.ESTALE, "Stale file handle")
        whole(source, target)

    monkeypatch.setattr(os, "replace", away)
    files.write("a", b"arrived")
    assert files.read("a") == b"arrived"
    assert sorted(os.listdir(tmp_path)) == ["a"]


def test_a_full_disk_is_told_and_leaves_nothing_torn(tmp_path: Path) -> None:
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "raystudy-test", tmp_path], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("needs the right to mount a small disk")
    try:
        files = open_files(tmp_path)
        files.write("kept", b"before")

        def large(folder: Path) -> None:
            torch.save({"weights": torch.zeros(200_000)}, folder / "state.pt")

        for fills in (
            lambda: files.publish("a/1.1", large),
            lambda: files.write("kept", b"x" * 500_000),
            lambda: files.create("new", b"x" * 500_000),
        ):
            with pytest.raises(StorageError, match=r"is full \(.*nothing half-written is left; make room"):
                fills()
        assert files.read("kept") == b"before"
        assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["kept"]
        files.write("room", b"for small things")
    finally:
        subprocess.run(["umount", tmp_path], check=True)
