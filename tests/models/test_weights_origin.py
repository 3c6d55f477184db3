"""What a weights file tells of where it comes from, and how torchvision's come here."""

import dataclasses
import json
import pickle
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch

from raystudy.errors import WeightsError
from raystudy.models.torchvision_file import (
    file_sha256,
    local_file,
    torchvision_address,
    torchvision_provenance,
    torchvision_weights_id,
)
from raystudy.models.weights_origin import origin
from raystudy.training.pretraining import pretrain
from tests.tiny_trials import tiny_recipe

RECIPE = tiny_recipe(iterations=2, num_pictures=8)


def test_our_own_file_tells_it_and_more_where_its_record_lies_beside_it(tmp_path: Path) -> None:
    weights = pretrain(RECIPE, tmp_path / "made")
    beside = origin(weights)
    assert beside.to_dict() == {**json.loads((weights.parent / "provenance.json").read_text()), "file": "weights.pt"}
    moved = tmp_path / "mine.pt"
    moved.write_bytes(weights.read_bytes())
    alone = origin(moved)
    assert dataclasses.replace(alone, file="weights.pt") == dataclasses.replace(
        beside, distinct_images=None, num_classes=None, passes=None, wall_time_s=None
    )
    assert (alone.images_seen, alone.pixels_measured_seen, alone.iterations) == (16, 16 * 32 * 32, 2)
    # The record of other weights is not believed.
    (tmp_path / "provenance.json").write_text(json.dumps({**beside.to_dict(), "sha256": "0" * 64}))
    assert origin(moved) == alone


def test_of_other_files_nothing_is_made_up(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "resnet50-0676ba61.pth")
    found = origin(tmp_path / "resnet50-0676ba61.pth")  # torchvision's name, and not its content
    assert (found.source, found.exposure(), found.top1) == ("file", {}, None)
    assert found.sha256 == file_sha256(tmp_path / "resnet50-0676ba61.pth")
    (tmp_path / "R-50-GN.pkl").write_bytes(pickle.dumps({"blobs": {"conv1_w": np.zeros(3, np.float32)}}))
    found = origin(tmp_path / "R-50-GN.pkl")
    assert (found.source, found.file, found.exposure()) == ("Detectron", "R-50-GN.pkl", {})


def test_torchvisions_files_are_known_by_their_checksum() -> None:
    v1 = torchvision_provenance(Path("anything.pth"), "0676ba61" + "0" * 56)
    assert v1 is not None
    assert v1.source == "torchvision ResNet50_Weights.IMAGENET1K_V1"
    assert v1.images_seen == 90 * 1_281_167
    assert v1.pixels_nominal_seen == v1.pixels_measured_seen == 90 * 1_281_167 * 224 * 224
    assert v1.top1 == pytest.approx(0.7613)
    assert "references/classification" in v1.reference
    v2 = torchvision_provenance(Path("anything.pth"), "11ad3fa6" + "0" * 56)
    assert v2 is not None
    assert (v2.passes, v2.pixels_measured_seen) == (600, 600 * 1_281_167 * 176 * 176)
    assert torchvision_provenance(Path("anything.pth"), "f" * 64) is None


def test_torchvisions_weights_are_taken_from_torchs_cache_under_the_id_of_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    address = torchvision_address("resnet50")
    assert address == "torchvision:resnet50/IMAGENET1K_V1"
    assert torchvision_weights_id(address) == "resnet50-0676ba61-0676ba61"
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "resnet50-0676ba61.pth").write_bytes(b"here")
    assert local_file(address).read_bytes() == b"here"


def test_without_a_network_it_is_said_what_to_fetch_and_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(url: str, *_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(WeightsError) as caught:
        local_file("torchvision:resnet101/IMAGENET1K_V1")
    assert "fetch https://download.pytorch.org/models/resnet101-63fe2227.pth" in str(caught.value)
    assert str(tmp_path / "checkpoints" / "resnet101-63fe2227.pth") in str(caught.value)
    with pytest.raises(WeightsError, match="only of resnet50, resnet101, vgg16"):
        torchvision_address("resnext152_8x32d")
    with pytest.raises(WeightsError, match="IMAGENET1K_V1, IMAGENET1K_V2, but not V3"):
        torchvision_address("resnet50", "V3")
    with pytest.raises(WeightsError, match="check --weights"):
        local_file(str(tmp_path / "gone.pth"))
