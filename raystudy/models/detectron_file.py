"""Detectron's weights files: a pickle of numpy arrays ("blobs") under Caffe2's names, read without trusting it.

A pickle can run any code. The reader here admits what an array is made of and nothing else, so that a file which asks
for more is refused before anything runs. Blobs have torch's layouts (convolutions are out, in, height, width).

Names are those of ``detectron/modeling/ResNet.py`` and ``VGG16.py``:

    conv1_w, conv1_gn_s, res_conv1_bn_s       the stem; ``s`` is a norm's weight, ``b`` its bias
    res2_0_branch2a_w, res2_0_branch2a_gn_s   a convolution of a block and its norm; branch1 is the shortcut
    conv1_1_w, fc6_w                          VGG-16
"""

import collections
import pickle
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from raystudy.errors import WeightsError
from raystudy.models.backbones import VGG16_WIDTHS

IGNORED = re.compile(r"_momentum$|^(pred|fc1000|fc8)_[wb]$|^(lr|weight_order)$")
"""The optimizer's blobs and classifiers."""

_PARTS = {"w": "weight", "s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}
_BRANCHES = {"2a": "1", "2b": "2", "2c": "3"}
_STEM = re.compile(r"^(?:res_)?conv1_(?:bn|gn)_(s|b|rm|riv)$")
_BLOCK = re.compile(r"^res(\d)_(\d+)_branch(1|2a|2b|2c)_(?:(w)|(?:bn|gn)_(s|b|rm|riv))$")
_VGG = re.compile(r"^conv(\d)_(\d)_([wb])$")
_FC = re.compile(r"^fc([67])_([wb])$")


def read_detectron(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The blobs of a file under this project's (and torchvision's) names, and the names that are left out.

    Names that are not known stay as they are, so that the check of the keys shows them.

    Raises:
        WeightsError: no pickle, one that asks for anything but arrays, or one without blobs.
    """
    try:
        with path.open("rb") as file:
            content = _ArraysOnly(file, encoding="latin1").load()
    except OSError as error:
        raise WeightsError(f"weights file {path} cannot be read: {error.strerror}") from error
    except Exception as error:  # what a broken pickle raises is not limited: IndexError, KeyError, UnicodeError...
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise WeightsError(f"{path} is not a pickle of arrays as Detectron writes it: {reason}") from error
    blobs = content.get("blobs", content) if isinstance(content, dict) else None
    if not isinstance(blobs, dict):
        raise WeightsError(f"{path} holds no dict of blobs; Detectron's files do")
    left_out = sorted(str(name) for name in blobs if IGNORED.search(str(name)))
    found: dict[str, Tensor] = {}
    for name, value in blobs.items():
        if str(name) in left_out:
            continue
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            raise WeightsError(f"{path}: blob {name} is no array of floats")
        if name == "conv1_b" and not value.any():
            left_out.append("conv1_b")  # A bias of zeros that no forward pass uses.
            continue
        found[renamed(str(name))] = torch.from_numpy(value.astype(np.float32))
    return found, tuple(left_out)


def renamed(name: str) -> str:
    """Our name of a blob; its own when it is not known."""
    if name == "conv1_w":
        return "conv1.weight"
    if stem := _STEM.match(name):
        return f"bn1.{_PARTS[stem[1]]}"
    if block := _BLOCK.match(name):
        layer = f"layer{int(block[1]) - 1}.{block[2]}"
        part = _PARTS[block[4] or block[5]]
        if block[3] == "1":
            return f"{layer}.downsample.{0 if block[4] else 1}.{part}"
        return f"{layer}.{'conv' if block[4] else 'bn'}{_BRANCHES[block[3]]}.{part}"
    if (vgg := _VGG.match(name)) and 1 <= int(vgg[1]) <= len(VGG16_WIDTHS):
        before = sum(2 * len(widths) + 1 for widths in VGG16_WIDTHS[: int(vgg[1]) - 1])
        return f"features.{before + 2 * (int(vgg[2]) - 1)}.{_PARTS[vgg[3]]}"
    if fc := _FC.match(name):
        return f"classifier.{3 * (int(fc[1]) - 6)}.{_PARTS[fc[2]]}"
    return name


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """What a pickle of protocol 2 makes bytes with; other codecs can do more than that."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it asks for the codec {encoding}")
    return text.encode("latin1")


def _admitted() -> dict[tuple[str, str], Any]:
    reconstruct = np.zeros(0).__reduce__()[0]
    found: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _latin1,
        ("collections", "OrderedDict"): collections.OrderedDict,
    }
    # numpy renamed its core in version 2; files name either.
    return found | {(f"numpy.{core}.multiarray", "_reconstruct"): reconstruct for core in ("core", "_core")}


class _ArraysOnly(pickle.Unpickler):
    """Resolves the names of numpy arrays and refuses all others."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        super().__init__(file, encoding=encoding)
        self._known = _admitted()

    def find_class(self, module: str, name: str) -> Any:
        """What ``module.name`` may be."""
        if (module, name) not in self._known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")
        return self._known[module, name]
