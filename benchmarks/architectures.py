"""Parameters and FLOPs of every architecture, next to torchvision's counts and the paper's ratio.

    python benchmarks/architectures.py [--height 800 --width 1333 --categories 80]

Nothing is computed: networks are built on the meta device, and a FLOP is a multiply-add (torch counts it as two). The
detector's figure is that of one picture in training: all trunk layers, proposal heads on every level, the box head on
its RoIs, and the mask or keypoint head on as many RoIs as can be foreground.
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
from raystudy.spec.model import BoxHeadSpec, CascadeSpec, KeypointHeadSpec, ModelSpec, RpnSpec
from raystudy.spec.presets import tiny_model

PEERS: dict[str, tuple[Callable[..., nn.Module], tuple[str, ...]]] = {
    "resnet50": (torchvision.models.resnet50, ("fc.",)),
    "resnet101": (torchvision.models.resnet101, ("fc.",)),
    "vgg16": (torchvision.models.vgg16, ("classifier.",)),
}
"""torchvision's networks, and the parameters of their classifiers, which a detector's backbone does not have."""


@dataclass(frozen=True, slots=True)
class Counts:
    """One row of the table."""

    name: str
    backbone_parameters: int
    backbone_flops: int
    """Multiply-adds of one picture."""

    parameters: int
    flops: int
    torchvision: int | None
    """Parameters of torchvision's backbone."""


def architectures() -> dict[str, ModelSpec]:
    """The detectors that the paper's experiments and the demo use."""
    gn = ModelSpec()
    original = BoxHeadSpec(num_convs=0, num_fcs=2, fc_channels=4096, pooling="pool")
    found = {name: replace(gn, backbone=name) for name in ("resnet50", "resnet101")}
    found |= {name: replace(gn, backbone=name) for name in ("resnext152_8x32d", "resnext152_32x8d")}
    found["resnet50 cascade"] = replace(gn, cascade=CascadeSpec())
    found["resnet50 keypoints"] = replace(gn, mask_head=None, keypoint_head=KeypointHeadSpec())
    vgg_rpn = RpnSpec(anchor_sizes=(64, 128, 256, 512))
    found["vgg16"] = ModelSpec(
        backbone="vgg16", norm="none", neck="none", mask_head=None, box_head=original, rpn=vgg_rpn
    )
    tiny = tiny_model()
    found |= {name: replace(tiny, backbone=name) for name in ("tiny", "tiny_deep", "tiny_grouped", "tiny_vgg")}
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
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            levels = maps if detector.fpn is None else detector.fpn(maps)
            _heads(detector, levels)
    return Counts(
        name=name,
        backbone_parameters=_parameters(detector.backbone),
        backbone_flops=backbone_flops,
        parameters=_parameters(detector),
        flops=backbone_flops + counter.get_total_flops() // 2,
        torchvision=_peer_parameters(spec.backbone) if name == spec.backbone else None,
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


def _peer_parameters(backbone: str) -> int | None:
    if backbone not in PEERS:
        return None
    build, classifier = PEERS[backbone]
    with torch.device("meta"):
        network = build(weights=None)
    return sum(p.numel() for name, p in network.named_parameters() if not name.startswith(classifier))


def table(rows: Sequence[Counts]) -> str:
    """Markdown; FLOPs relative to R101's backbone, as the paper compares them."""
    reference = next((row.backbone_flops for row in rows if row.name == "resnet101"), None)
    head = ["detector", "backbone M", "torchvision M", "backbone GFLOPs", "x R101", "detector M", "detector GFLOPs"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for row in rows:
        ratio = "" if reference is None else f"{row.backbone_flops / reference:.2f}"
        peer = "" if row.torchvision is None else f"{row.torchvision / 1e6:.3f}"
        own = [f"{row.backbone_parameters / 1e6:.3f}", peer, f"{row.backbone_flops / 1e9:.1f}", ratio]
        lines.append([row.name, *own, f"{row.parameters / 1e6:.2f}", f"{row.flops / 1e9:.1f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--height", type=int, default=800)
    parser.add_argument("--width", type=int, default=1333)
    parser.add_argument("--categories", type=int, default=80)
    options = parser.parse_args()
    size = (options.height, options.width, options.categories)
    print(table([count(name, spec, *size) for name, spec in architectures().items()]))


if __name__ == "__main__":
    main()
