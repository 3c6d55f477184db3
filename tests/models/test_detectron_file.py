"""Detectron's pickles: synthetic ones load, malicious and foreign ones are refused."""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from raystudy.errors import WeightsError
from raystudy.models.detector import Detector, build_detector
from raystudy.models.detectron_file import read_detectron
from raystudy.models.initialization import initialize, load_backbone_weights
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.model import BoxHeadSpec, ModelSpec, Norm

BRANCHES = {"conv1": "2a", "conv2": "2b", "conv3": "2c", "bn1": "2a", "bn2": "2b", "bn3": "2c"}


def _blob_name(key: str, norm: str) -> str:
    """Caffe2's name of one of our parameters, spelled out anew."""
    if key == "conv1.weight":
        return "conv1_w"
    part = "s" if key.endswith("weight") else "b"
    if key.startswith("bn1."):
        return f"{'res_' if norm == 'bn' else ''}conv1_{norm}_{part}"
    match = re.fullmatch(r"layer(\d)\.(\d+)\.(\w+)\.?(\d?)\.(weight|bias)", key)
    assert match is not None
    stage, block, module, index, _ = match.groups()
    stem = f"res{int(stage) + 1}_{block}_branch{'1' if module == 'downsample' else BRANCHES[module]}"
    is_conv = module.startswith("conv") or index == "0"
    return f"{stem}_w" if is_conv else f"{stem}_{norm}_{part}"


def _detector(norm: Norm = "gn") -> Detector:
    spec = ModelSpec(backbone="resnet50", norm=norm, fpn_channels=32, mask_head=None)
    detector = build_detector(spec, 3, EvalSpec())
    initialize(detector, 0)
    return detector


def _blobs(detector: Detector, norm: str) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(7)
    parameters = {k: v for k, v in detector.backbone.state_dict().items() if k.endswith(("weight", "bias"))}
    blobs: dict[str, Any] = {
        _blob_name(key, norm): torch.randn(value.shape, generator=generator).numpy()
        for key, value in parameters.items()
    }
    blobs["conv1_w_momentum"] = np.zeros(3, np.float32)
    blobs["pred_w"] = np.zeros((1000, 2048), np.float32)
    return blobs


def _write(path: Path, content: Any, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("is_nested", [True, False])
def test_a_gn_file_loads_blob_by_blob(tmp_path: Path, is_nested: bool) -> None:
    detector = _detector()
    blobs = _blobs(detector, "gn")
    path = _write(tmp_path / "R-50-GN.pkl", {"blobs": blobs, "cfg": "MODEL: {}"} if is_nested else blobs)
    report = load_backbone_weights(detector, path)
    assert report.source == "detectron"
    assert report.ignored == ("conv1_w_momentum", "pred_w")
    # The pixels of preset paper are Detectron's: nothing is converted.
    assert report.conversions == ()
    for key, value in detector.backbone.state_dict().items():
        assert np.array_equal(value.numpy(), blobs[_blob_name(key, "gn")]), key


def test_an_affine_of_folded_bn_loads_into_frozen_bn_and_acts_as_an_affine(tmp_path: Path) -> None:
    detector = _detector("frozen_bn")
    blobs = _blobs(detector, "bn")
    blobs["conv1_b"] = np.zeros(64, np.float32)
    report = load_backbone_weights(detector, _write(tmp_path / "R-50.pkl", {"blobs": blobs}))
    assert len(report.conversions) == 1
    x = torch.randn(1, 64, 2, 2)
    weight, bias = (torch.from_numpy(blobs[f"res_conv1_bn_{part}"])[:, None, None] for part in "sb")
    found: Tensor = detector.backbone.bn1(x)  # type: ignore[operator]
    torch.testing.assert_close(found, x * weight + bias)


def test_a_vgg_file_fills_convolutions_and_the_box_heads_layers(tmp_path: Path) -> None:
    spec = ModelSpec(
        backbone="vgg16",
        norm="none",
        neck="none",
        mask_head=None,
        box_head=BoxHeadSpec(num_convs=0, num_fcs=2, fc_channels=8, pool_size=1),
    )
    detector = build_detector(spec, 3, EvalSpec())
    names = [f"conv{stage}_{n}" for stage, depth in enumerate((2, 2, 3, 3, 3), 1) for n in range(1, depth + 1)]
    convs = [module for module in detector.backbone.modules() if isinstance(module, torch.nn.Conv2d)]
    assert isinstance(detector.box_head.fcs, torch.nn.ModuleList)
    pairs = [*zip(names, convs, strict=True), *zip(("fc6", "fc7"), detector.box_head.fcs, strict=True)]
    blobs: dict[str, Any] = {"fc8_w": np.zeros((2, 2), np.float32)}
    for name, module in pairs:
        for part, letter in (("weight", "w"), ("bias", "b")):
            blobs[f"{name}_{letter}"] = torch.randn(getattr(module, part).shape).numpy()
    report = load_backbone_weights(detector, _write(tmp_path / "VGG16.pkl", blobs))
    for name, module in pairs:
        assert np.array_equal(module.weight.detach().numpy(), blobs[f"{name}_w"])  # type: ignore[operator]
    assert report.num_tensors == 2 * (13 + 2)


def test_files_of_another_norm_or_network_are_refused_with_the_keys(tmp_path: Path) -> None:
    blobs = _blobs(_detector(), "gn")
    del blobs["res4_2_branch2b_w"]
    blobs["fpn_inner_res5_2_sum_w"] = np.zeros((1, 1), np.float32)
    path = _write(tmp_path / "R-50-GN.pkl", {"blobs": blobs})
    with pytest.raises(WeightsError) as error:
        load_backbone_weights(_detector(), path)
    assert "layer3.2.conv2.weight" in str(error.value)
    assert "fpn_inner_res5_2_sum_w" in str(error.value)
    with pytest.raises(WeightsError, match="running_mean"):
        load_backbone_weights(_detector("bn"), path)


class _Touch:
    """Runs a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def test_a_malicious_pickle_is_refused_before_it_runs(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    for protocol in (0, 2, 4):
        for attack in (_Touch(eval, f"open({str(marker)!r}, 'w')"), _Touch(open, str(marker), "w")):
            path = _write(tmp_path / "evil.pkl", {"blobs": {"conv1_w": attack}}, protocol)
            with pytest.raises(WeightsError, match="it asks for"):
                read_detectron(path)
    assert not marker.exists()
    pickle.loads(path.read_bytes())["blobs"]["conv1_w"].close()
    assert marker.exists(), "the attack must be one"


@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x02K\x01.", b"c_codecs\nencode\n(Vx\nVrot13\ntR."])
def test_what_is_no_pickle_of_blobs_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pkl"
    path.write_bytes(content)
    with pytest.raises(WeightsError):
        read_detectron(path)


def test_blobs_that_are_no_floats_are_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "weights.pkl", {"blobs": {"conv1_w": np.array(["a"], dtype=object)}})
    with pytest.raises(WeightsError, match="conv1_w"):
        read_detectron(path)
