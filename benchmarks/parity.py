"""The largest differences between our detector and torchvision's with the same weights and pictures.

    python benchmarks/parity.py [--norms gn bn] [--precision float64]

R50-FPN, 4conv1fc, with torchvision's choices (pixel statistics, betas, RPN scope, sampling that takes all candidates)
and torchvision's mask rasteriser; and the keypoint branch. One line a quantity; exits with 1 when one is above its
tolerance.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.roi_heads import heatmaps_to_keypoints

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs as a file from anywhere

from benchmarks.torchvision_detector import LOSS_NAMES, keep_sizes, torchvision_batch, torchvision_twin
from raystudy.data.batch import Batch
from raystudy.models.detector import Detector, build_detector
from raystudy.models.initialization import initialize
from raystudy.models.keypoint_head import KeypointHead, place_keypoints
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.model import BoxHeadSpec, KeypointHeadSpec, MaskHeadSpec, ModelSpec, Norm, PixelSpec, RpnSpec
from tests.models.synthetic import NUM_CATEGORIES, RasterMasks, random_batch

EVERYTHING = 1_000_000
"""A sampling budget that takes all candidates, so that nothing is random."""

TOLERANCES = {"float64": 1e-5, "float32": 1e-4}
"""Relative; of boxes to the longest side of a picture, of scores and masks absolute."""

GRADIENT_TOLERANCES = {"float64": 1e-5, "float32": 5e-2}
"""In float32 a maximum or a ReLU at its kink may decide otherwise in an equal network; float64 shows it is no more."""

LONGEST_SIDE = 128
"""Of the pictures, pixels."""


def parity_spec(norm: Norm) -> ModelSpec:
    """R50-FPN 4conv1fc with torchvision's choices wherever it differs from Detectron."""
    return ModelSpec(
        norm=norm,
        fpn_channels=32,
        pixels=PixelSpec(order="rgb", mean=(123.5, 116.25, 103.5), std=(64.0, 64.0, 64.0)),
        rpn=RpnSpec(
            anchor_sizes=(8, 16, 32, 64, 128),
            anchor_style="torchvision",
            straddle=-1,
            anchors_per_image=EVERYTHING,
            foreground_fraction=1.0,
            pre_nms_train=200,
            pre_nms_test=200,
            post_nms_train=100,
            post_nms_train_per="image",
            post_nms_test=100,
        ),
        box_head=BoxHeadSpec(
            conv_channels=32,
            fc_channels=64,
            rois_per_image=EVERYTHING,
            foreground_fraction=1.0,
            smooth_l1_beta=1 / 9,
        ),
        mask_head=MaskHeadSpec(conv_channels=32, num_convs=2),
    )


def parity_detector(norm: Norm, dtype: torch.dtype = torch.float64) -> Detector:
    """Ours, with predictors that say something: with the recipe's all boxes would be anchors and all scores equal."""
    evaluation = EvalSpec(score_threshold=0.15, detections_per_image=40)
    detector = build_detector(parity_spec(norm), NUM_CATEGORIES, evaluation)
    initialize(detector, 0)
    torch.manual_seed(0)
    for module in (detector.rpn.objectness, detector.rpn.box, detector.box_head.category, detector.box_head.box):
        assert isinstance(module, nn.Conv2d | nn.Linear)
        nn.init.normal_(module.weight, std=0.05)
    return detector.to(dtype)


def parity_twin(ours: Detector) -> Any:
    """torchvision's detector with the weights of ``ours``, that takes pictures as they are."""
    theirs = torchvision_twin(ours, min_size=1, max_size=1000)
    keep_sizes(theirs)
    return theirs.to(next(ours.parameters()).dtype)


def parity_inputs(batch: Batch, dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """The batch as torchvision's detector takes it."""
    masks = [target.masks.masks for target in batch.targets if isinstance(target.masks, RasterMasks)]
    images, targets = torchvision_batch(batch, masks)
    return [(255 * image).round().to(dtype) / 255 for image in images], targets


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest difference in one quantity."""

    name: str
    value: float
    tolerances: dict[str, float]
    """By precision."""


def detector_differences(norm: Norm, dtype: torch.dtype) -> Iterator[Difference]:
    """Losses and gradients in training, detections in evaluation."""
    ours = parity_detector(norm, dtype)
    theirs = parity_twin(ours)
    batch = random_batch((3, 5), ((96, 128), (80, 96)))
    losses, expected = ours.train()(batch), theirs.train()(*parity_inputs(batch, dtype))
    for their_name, name in LOSS_NAMES.items():
        yield Difference(f"{norm} {name}", abs(losses[name].item() / expected[their_name].item() - 1), TOLERANCES)
    sum(losses.values()).backward()
    sum(expected.values()).backward()
    own, other = ours.backbone.get_parameter("conv1.weight").grad, theirs.backbone.body.conv1.weight.grad
    yield Difference(f"{norm} gradient of conv1", float((own - other).norm() / other.norm()), GRADIENT_TOLERANCES)
    with torch.no_grad():
        found, wanted = ours.eval().detect(batch), theirs.eval()(parity_inputs(batch, dtype)[0])
    for part in ("scores", "boxes", "masks"):
        worst = 0.0
        for one, their in zip(found, wanted, strict=True):
            mine, peer = getattr(one, part), their[part][:, 0] if part == "masks" else their[part]
            worst = max(worst, float((mine - peer).abs().max())) if mine.shape == peer.shape else float("inf")
        yield Difference(f"{norm} {part}", worst / (LONGEST_SIDE if part == "boxes" else 1), TOLERANCES)


def keypoint_differences(dtype: torch.dtype) -> Iterator[Difference]:
    """Heat maps, and the places that are read from them."""
    torch.manual_seed(0)
    spec = KeypointHeadSpec(conv_channels=32)
    ours = KeypointHead(spec, 32, lambda _: nn.Identity())
    body, last = KeypointRCNNHeads(32, [32] * spec.num_convs), KeypointRCNNPredictor(32, spec.num_keypoints)
    convs = [module for module in ours.convs.modules() if isinstance(module, nn.Conv2d)]
    for own, theirs in zip(convs, (m for m in body if isinstance(m, nn.Conv2d)), strict=True):
        theirs.load_state_dict(own.state_dict())
    last.kps_score_lowres.load_state_dict(ours.deconv.state_dict())
    for module in (ours, body, last):
        module.to(dtype)
    boxes = torch.tensor([[3.0, 4.5, 60.2, 90.1], [0.0, 0.0, 20.0, 11.3]], dtype=dtype)
    with torch.no_grad():
        pooled = torch.randn(2, 32, 14, 14).to(dtype)
        maps, expected = ours(pooled), last(body(pooled))
        yield Difference("keypoint heat maps", float((maps - expected).abs().max() / expected.abs().max()), TOLERANCES)
        places, _ = heatmaps_to_keypoints(expected, boxes)
        worst = float((place_keypoints(maps, boxes)[..., :2] - places[..., :2]).abs().max())
        yield Difference("keypoint places", worst / LONGEST_SIDE, TOLERANCES)


def main() -> None:
    """Print every difference; exit with 1 when one is too large."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--norms", nargs="+", choices=("gn", "bn"), default=["gn", "bn"])
    parser.add_argument("--precision", choices=tuple(TOLERANCES), default="float64")
    options = parser.parse_args()
    dtype = getattr(torch, options.precision)
    found = [difference for norm in options.norms for difference in detector_differences(norm, dtype)]
    found += keypoint_differences(dtype)
    sys.exit(1 if sum([_told(difference, difference.tolerances[options.precision]) for difference in found]) else 0)


def _told(found: Difference, tolerance: float) -> bool:
    """Print it; whether it is too large. A difference that is no number is."""
    is_bad = not found.value <= tolerance
    print(f"{found.name:30} {found.value:.2e}  {'ABOVE ' if is_bad else 'within'} {tolerance:g}")
    return is_bad


if __name__ == "__main__":
    main()
