"""Weights files: what fits is loaded and converted, what does not is refused with the keys."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models import resnet50

from raystudy.errors import WeightsError
from raystudy.models.backbones import build_backbone
from raystudy.models.detector import Detector, build_detector
from raystudy.models.initialization import initialize, load_backbone_weights
from raystudy.models.pixels import PixelNormalizer
from raystudy.models.weights import TORCHVISION_PIXELS
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.identity import to_dict
from raystudy.spec.model import ModelSpec, Norm, PixelSpec
from tests.models.synthetic import tiny_spec


def _detector(spec: ModelSpec) -> Detector:
    detector = build_detector(spec, 6, EvalSpec())
    initialize(detector, 0)
    return detector


def _file(folder: Path, spec: ModelSpec, pixels: PixelSpec | None = None) -> Path:
    torch.manual_seed(5)
    state = build_backbone(spec).state_dict()
    meta: dict[str, Any] = {"pixels": to_dict(pixels or spec.pixels), "top1": 0.5}
    path = folder / "weights.pt"
    torch.save({"backbone": state, "meta": meta}, path)
    return path


def test_our_own_file_loads_and_only_the_backbone_changes(tmp_path: Path) -> None:
    detector = _detector(tiny_spec())
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    path = _file(tmp_path, tiny_spec())
    report = load_backbone_weights(detector, path)
    stored: dict[str, Tensor] = torch.load(path, weights_only=True)["backbone"]
    for key, value in detector.state_dict().items():
        kept = key.removeprefix("backbone.")
        assert torch.equal(value, stored[kept] if key.startswith("backbone.") else before[key])
    assert report.source == "raystudy"
    assert report.meta["top1"] == 0.5
    assert report.conversions == ()
    assert len(report.sha256) == 64


@pytest.mark.parametrize("norm", ["bn", "sync_bn", "frozen_bn"])
def test_bn_weights_fit_every_batch_norm(tmp_path: Path, norm: Norm) -> None:
    detector = _detector(tiny_spec(norm=norm))
    load_backbone_weights(detector, _file(tmp_path, tiny_spec(norm="bn")))


@pytest.mark.parametrize(("have", "want"), [("bn", "gn"), ("gn", "bn"), ("gn", "none")])
def test_weights_of_another_norm_are_refused_with_the_keys(tmp_path: Path, have: Norm, want: Norm) -> None:
    path = _file(tmp_path, tiny_spec(norm=have))
    with pytest.raises(WeightsError) as error:
        load_backbone_weights(_detector(tiny_spec(norm=want)), path)
    assert "bn1." in str(error.value)
    if "bn" in (have, want):
        assert "statistics" in str(error.value)


def test_other_shapes_and_missing_keys_are_told_together(tmp_path: Path) -> None:
    path = _file(tmp_path, tiny_spec())
    content = torch.load(path, weights_only=True)
    content["backbone"]["conv1.weight"] = torch.zeros(1, 3, 7, 7)
    del content["backbone"]["layer1.0.conv2.weight"]
    torch.save(content, path)
    with pytest.raises(WeightsError) as error:
        load_backbone_weights(_detector(tiny_spec()), path)
    assert len(error.value.problems) == 2
    assert "layer1.0.conv2.weight" in str(error.value)
    assert "(1, 3, 7, 7)" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"not a weights file", b"cos\nsystem\n(S'true'\ntR."])
def test_files_that_are_no_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="not a weights file"):
        load_backbone_weights(_detector(tiny_spec()), path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="No such file"):
        load_backbone_weights(_detector(tiny_spec()), tmp_path / "nowhere.pt")


def test_torchvisions_file_loads_into_sync_bn_and_sees_the_same_pictures(tmp_path: Path) -> None:
    # Pixels of Detectron (BGR, no deviation) must give the first convolution's output of torchvision's (RGB, 0 to 1),
    # but for the means, which differ by about one grey level.
    torch.manual_seed(0)
    theirs = resnet50(weights=None)
    torch.save(theirs.state_dict(), tmp_path / "resnet50.pth")
    pixels = PixelSpec(mean=(103.53, 116.28, 123.675))
    detector = _detector(ModelSpec(backbone="resnet50", norm="sync_bn", pixels=pixels))
    report = load_backbone_weights(detector, tmp_path / "resnet50.pth")
    assert report.source == "torchvision"
    assert report.ignored == ("fc.bias", "fc.weight")
    assert len(report.conversions) == 2
    images = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    expected = theirs.conv1(PixelNormalizer(TORCHVISION_PIXELS)(images, [(32, 32)]))
    found = detector.backbone.conv1(detector.pixels(images, [(32, 32)]))  # type: ignore[operator]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["bn", "frozen_bn"])
def test_torchvisions_file_fits_every_batch_norm_with_its_statistics(tmp_path: Path, norm: Norm) -> None:
    theirs = resnet50(weights=None)
    torch.nn.init.uniform_(theirs.layer1[0].bn1.running_mean)
    torch.save(theirs.state_dict(), tmp_path / "resnet50.pth")
    detector = _detector(ModelSpec(backbone="resnet50", norm=norm))
    load_backbone_weights(detector, tmp_path / "resnet50.pth")
    state = detector.backbone.state_dict()
    assert torch.equal(state["layer1.0.bn1.running_mean"], theirs.layer1[0].bn1.running_mean)
    assert torch.equal(state["layer4.2.conv3.weight"], theirs.layer4[2].conv3.weight)


def test_torchvisions_file_is_refused_by_group_norm_with_the_keys_that_differ(tmp_path: Path) -> None:
    torch.save(resnet50(weights=None).state_dict(), tmp_path / "resnet50.pth")
    with pytest.raises(WeightsError) as error:
        load_backbone_weights(_detector(ModelSpec(backbone="resnet50", norm="gn")), tmp_path / "resnet50.pth")
    assert "bn1.running_mean" in str(error.value)
    assert "not gn or none" in str(error.value)
