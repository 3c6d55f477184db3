import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raystudy.data import staging
from raystudy.data.inspection import inspect
from raystudy.data.preflight import preflight
from raystudy.data.resolve import resolve_data, resolve_pair
from raystudy.data.splits import open_split
from raystudy.data.staging import MANIFEST, is_remote, stage
from raystudy.errors import DataError
from tests.data.synthetic import coco_content, trial, write_coco
from tests.data.test_voc import one_year

boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
server = pytest.importorskip("moto.server", reason="moto[server] is not installed")

BUCKET = "data"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    started = server.ThreadedMotoServer(port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    yield f"http://{host}:{port}"
    started.stop()


@pytest.fixture(autouse=True)
def store(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """An empty bucket, and an empty cache on this machine."""
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "RAYSTUDY_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    for found in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=found["Key"])
    return client


def upload(store: Any, folder: Path, prefix: str = "mine") -> str:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.put_object(Bucket=BUCKET, Key=f"{prefix}/{path.relative_to(folder)}", Body=path.read_bytes())
    return f"s3://{BUCKET}/{prefix}"


def coco_folder(root: Path) -> Path:
    for split in ("train", "val"):
        write_coco(root, coco_content(), f"instances_{split}.json")
    return root


def content(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_addresses_are_known_by_their_scheme() -> None:
    assert [is_remote(text) for text in ("s3://a/b", "gs://a", "/s3/a", "shapes", "coco:x")] == [True, True] + [
        False
    ] * 3


def test_a_remote_data_set_is_the_local_one(store: Any, tmp_path: Path) -> None:
    local = coco_folder(tmp_path / "local")
    address = upload(store, local)
    data, here = resolve_data(f"{address}/"), resolve_data(str(local))
    assert (data.remote, data.name, data.train_images) == (address, "mine", "images")
    assert content(stage(address, data.remote_version).folder) == content(local)
    # Where it lies decides nothing.
    assert trial(data).trial_id == trial(here).trial_id
    spec = trial(data)
    assert type(spec).from_dict(spec.to_dict()) == spec
    assert preflight(data, needs_masks=True, thorough=True) == []
    assert open_split(data, "train").image(0).shape == (30, 40, 3)
    assert "train: 2 images, 3 instances" in inspect(address).text()


def test_voc_can_be_remote_and_asked_for(store: Any, tmp_path: Path) -> None:
    one_year(tmp_path / "local")
    address = upload(store, tmp_path / "local")
    for source in (address, f"voc:{address}"):
        data = resolve_data(source)
        assert (data.format, data.train_images, data.train_annotations) == ("voc", "VOCdevkit", "MINE/train")
        assert len(open_split(data, "train")) == 2


def test_a_copy_is_made_once_and_then_needs_no_store(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = resolve_data(upload(store, coco_folder(tmp_path / "local")))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert len(open_split(data, "val")) == 2
    monkeypatch.setenv("RAYSTUDY_CACHE", str(tmp_path / "another machine"))
    with pytest.raises(DataError, match="cannot be listed"):
        open_split(data, "val")


def test_what_changed_is_copied_anew_and_the_rest_shared(store: Any, tmp_path: Path) -> None:
    local = coco_folder(tmp_path / "local")
    address = upload(store, local)
    first = stage(address)
    store.put_object(Bucket=BUCKET, Key="mine/images/a.png", Body=b"another picture")
    second = stage(address)
    assert first.version != second.version
    assert (second.folder / "images/a.png").read_bytes() == b"another picture"
    # Who planned with the old version still has it, to the byte.
    assert content(stage(address, first.version).folder) == content(local)
    same = [folder.folder / "images/b.png" for folder in (first, second)]
    assert same[0].stat().st_ino == same[1].stat().st_ino


def test_another_version_than_planned_is_refused(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = resolve_data(upload(store, coco_folder(tmp_path / "local")))
    store.put_object(Bucket=BUCKET, Key="mine/new.txt", Body=b"new")
    monkeypatch.setenv("RAYSTUDY_CACHE", str(tmp_path / "another machine"))
    with pytest.raises(DataError, match="the data were changed"):
        open_split(data, "train")


def run(program: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True)


def test_a_copy_that_was_killed_goes_on_where_it_was(store: Any, tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.mkdir()
    for number in range(12):
        (local / f"{number:02d}.bin").write_bytes(os.urandom(1000 + number))
    address = upload(store, local)
    killed = run(
        """
import os, sys
from raystudy.data import staging

staging.CONNECTIONS, staging.PIECE = 1, 100
download, files = staging._download, []

def die_within_the_sixth(store, source, target):
    files.append(source)
    if len(files) == 6:
        target.write_bytes(b"half of")
        os._exit(9)
    return download(store, source, target)

staging._download = die_within_the_sixth
staging.stage(sys.argv[1])
""",
        address,
    )
    assert killed.wait(timeout=60) == 9
    home = next((tmp_path / "cache" / "staged").iterdir())
    # Nothing bears a final name but whole files in a folder that does not bear its own.
    (partial,) = [folder for folder in home.iterdir() if folder.is_dir()]
    assert partial.name.endswith(".partial")
    before = {path.name: path.stat().st_ino for path in partial.glob("*.bin")}
    assert len(before) == 5
    assert all((partial / name).read_bytes() == (local / name).read_bytes() for name in before)
    staged = stage(address)
    assert content(staged.folder) == content(local)
    assert [folder for folder in home.iterdir() if folder.is_dir()] == [staged.folder]
    assert all((staged.folder / name).stat().st_ino == inode for name, inode in before.items())


def test_many_processes_copy_once(store: Any, tmp_path: Path) -> None:
    local = coco_folder(tmp_path / "local")
    address = upload(store, local)
    program = """
import logging, sys
logging.basicConfig(level="INFO", stream=sys.stdout)
from raystudy.data.staging import stage
print("folder", stage(sys.argv[1]).folder)
"""
    started = [run(program, address) for _ in range(3)]
    said = [process.communicate(timeout=60)[0] for process in started]
    assert sum(text.count("copying") for text in said) == 1
    assert len({text.split("folder ")[1] for text in said}) == 1
    assert content(Path(said[0].split("folder ")[1].strip())) == content(local)


def test_a_copy_that_lost_files_is_mended_when_resolved(store: Any, tmp_path: Path) -> None:
    local = coco_folder(tmp_path / "local")
    address = upload(store, local)
    folder = stage(address).folder
    (folder / "images/a.png").unlink()
    (folder / "images/b.png").write_bytes(b"cut")
    assert content(stage(address).folder) == content(local)


def test_files_that_come_short_are_tried_again_and_then_told(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = upload(store, coco_folder(tmp_path / "local"))
    download, calls = staging._download, []

    def short(store: Any, source: str, target: Path) -> int:
        calls.append(source)
        size = download(store, source, target)
        return size - 1 if source.endswith("a.png") else size

    monkeypatch.setattr(staging, "_download", short)
    with pytest.raises(DataError) as caught:
        stage(address)
    assert "images/a.png came with" in caught.value.problems[0]
    assert "1 of 4 files could not be copied" in caught.value.problems[1]
    assert sum(source.endswith("a.png") for source in calls) == 3


def test_what_is_not_there_is_told(store: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no files in|cannot be listed"):
        resolve_data(f"s3://{BUCKET}/nothing")
    with pytest.raises(DataError, match="cannot be listed"):
        resolve_data("s3://no-such-bucket/x")
    with pytest.raises(DataError, match="in an object store: give --data"):
        resolve_pair("s3://a/images", "x.json", "images", "y.json")
