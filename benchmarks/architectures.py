"""Parameters and FLOPs of every architecture, next to torchvision's counts and the paper's ratio.

    python benchmarks/architectures.py [--height 800 --width 1333 --categories 80]

Nothing is computed: networks are built on the meta device. What it prints is kept as docs/architectures.md.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torchvision.models
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from raystudy.models.cascade import CascadeHead
from raystudy.models.detector import Detector, build_detector
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.model import CascadeSpec, ModelSpec
from raystudy.spec.presets import load_preset
from raystudy.spec.variants import original_faster_rcnn, with_keypoints

PEERS: dict[str, Callable[..., nn.Module]] = {
    "resnet50": torchvision.models.resnet50,
    "resnet101": torchvision.models.resnet101,
    "vgg16": torchvision.models.vgg16,
}
"""torchvision's networks."""

CLASSIFIER = ("avgpool", "fc", "classifier")
"""Their parts that a detector's backbone does not have."""

DOCUMENT = """# Architectures

What `python benchmarks/architectures.py` prints (a test compares): pictures of {height} x {width} (sides padded to
multiples of 32), {categories} categories. Networks are built on the meta device and nothing is computed. A FLOP is a
multiply-add. A detector's FLOPs are those of one picture in training, forward: backbone, pyramid, proposal heads on
every level, box head on its RoIs, mask or keypoint head on as many RoIs as can be foreground.

{table}

- torchvision's counts are of its own networks without their classifiers, on the same picture.
- The paper says that its ResNeXt-152 8x32d has about 4 times the FLOPs of R101. 8 groups of width 32 have that;
  Detectron's 32x8d (32 groups of width 8) has not.
- R50 and R101 have GN, 4conv1fc box and 4-conv mask head. `boxes` is without mask head (VOC). VGG-16 is Faster R-CNN
  without pyramid and norm: its two fully connected layers of 4096 are most of it.
- The tiny ladder stands for them in demo and smoke: its pictures have 128 x 128, not the size counted here.
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """One row of the table."""

    name: str
    backbone_parameters: int
    backbone_flops: int
    """Multiply-adds of one picture."""

    parameters: int
    flops: int
    peer_parameters: int | None
    """Of torchvision's backbone."""

    peer_flops: int | None


def architectures() -> dict[str, ModelSpec]:
    """The detectors that the paper's experiments and the demo use."""
    paper, demo = load_preset("paper"), load_preset("demo")
    gn, tiny = paper.base.model, demo.base.model
    found = {name: replace(gn, backbone=name) for name in ("resnet50", "resnet101")}
    found |= {name: replace(gn, backbone=name) for name in ("resnext152_8x32d", "resnext152_32x8d")}
    found["resnet50 cascade"] = replace(gn, cascade=CascadeSpec())
    found["resnet50 keypoints"] = with_keypoints(paper).model
    found["resnet101 boxes"] = replace(gn, backbone="resnet101", mask_head=None)
    found["vgg16"] = original_faster_rcnn(paper)
    found |= {name: replace(tiny, backbone=name) for name in ("tiny", "tiny_deep", "tiny_grouped")}
    found["tiny_vgg"] = original_faster_rcnn(demo)
    return found


def count(name: str, spec: ModelSpec, height: int, width: int, categories: int) -> Counts:
    """Build the detector without memory and count one picture of these sides (rounded up to the coarsest stride)."""
    height, width = (-(-side // 32) * 32 for side in (height, width))
    with torch.device("meta"):
        detector = build_detector(spec, categories, EvalSpec())
        images = torch.zeros(1, 3, height, width)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            maps = detector.backbone(images)
        backbone_flops = counter.get_total_flops() // 2
        peer = _peer(spec.backbone, images) if name == spec.backbone else (None, None)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            levels = maps if detector.fpn is None else detector.fpn(maps)
            _heads(detector, levels)
    return Counts(
        name=name,
        backbone_parameters=_parameters(detector.backbone),
        backbone_flops=backbone_flops,
        parameters=_parameters(detector),
        flops=backbone_flops + counter.get_total_flops() // 2,
        peer_parameters=peer[0],
        peer_flops=peer[1],
    )


def _heads(detector: Detector, levels: Sequence[torch.Tensor]) -> None:
    """Everything after the pyramid but pooling and suppression, which have no multiply-adds to speak of."""
    detector.rpn(levels)
    spec, channels = detector.spec, levels[0].shape[1]
    rois = spec.box_head.rois_per_image
    foreground = int(rois * spec.box_head.foreground_fraction)
    pooled = torch.zeros(rois, channels, spec.box_head.pool_size, spec.box_head.pool_size)
    for head in detector.box_head.heads() if isinstance(detector.box_head, CascadeHead) else [detector.box_head]:
        head(pooled)
    for branch in (detector.mask_head, detector.keypoint_head):
        if branch is not None:
            branch(torch.zeros(foreground, channels, branch.spec.pool_size, branch.spec.pool_size))


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _peer(backbone: str, images: torch.Tensor) -> tuple[int | None, int | None]:
    """Parameters and FLOPs of torchvision's network without its classifier."""
    if backbone not in PEERS:
        return None, None
    network = PEERS[backbone](weights=None)
    for part in CLASSIFIER:
        if hasattr(network, part):
            setattr(network, part, nn.Identity())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images)
    return _parameters(network), counter.get_total_flops() // 2


def table(rows: Sequence[Counts]) -> str:
    """Markdown; FLOPs relative to R101's backbone, as the paper compares them."""
    reference = next((row.backbone_flops for row in rows if row.name == "resnet101"), None)
    head = ["detector", "backbone M", "torchvision M", "backbone GFLOPs", "torchvision GFLOPs", "x R101"]
    head += ["detector M", "detector GFLOPs"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for row in rows:
        ratio = "" if reference is None else f"{row.backbone_flops / reference:.2f}"
        peer = ["", ""]
        if row.peer_parameters is not None and row.peer_flops is not None:
            peer = [f"{row.peer_parameters / 1e6:.3f}", f"{row.peer_flops / 1e9:.1f}"]
        own = [f"{row.backbone_parameters / 1e6:.3f}", peer[0], f"{row.backbone_flops / 1e9:.1f}", peer[1], ratio]
        lines.append([row.name, *own, f"{row.parameters / 1e6:.2f}", f"{row.flops / 1e9:.1f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def document(height: int = 800, width: int = 1333, categories: int = 80) -> str:
    """All architectures on one size of picture, as docs/architectures.md has them."""
    rows = [count(name, spec, height, width, categories) for name, spec in architectures().items()]
    return DOCUMENT.format(height=height, width=width, categories=categories, table=table(rows))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--height", type=int, default=800)
    parser.add_argument("--width", type=int, default=1333)
    parser.add_argument("--categories", type=int, default=80)
    options = parser.parse_args()
    print(document(options.height, options.width, options.categories), end="")


if __name__ == "__main__":
    main()
