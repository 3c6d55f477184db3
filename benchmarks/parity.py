"""The largest differences between our detector and torchvision's with the same weights and pictures.

    python benchmarks/parity.py [--norms gn bn] [--precisions float32 float64] [--full]

R50-FPN, 4conv1fc, mask and keypoint branch, with torchvision's choices (pixel statistics, betas, RPN scope, sampling
that takes all candidates) and torchvision's mask rasteriser; pyramid and heads are narrow unless ``--full``. One line a
quantity; exits with 1 when one is above its tolerance.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs as a file from anywhere

from benchmarks.torchvision_detector import LOSS_NAMES, keep_sizes, torchvision_batch, torchvision_twin
from raystudy.data.batch import Batch
from raystudy.models.detector import Detector, build_detector
from raystudy.models.initialization import initialize
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.model import BoxHeadSpec, KeypointHeadSpec, MaskHeadSpec, ModelSpec, Norm, PixelSpec, RpnSpec
from tests.models.synthetic import NUM_CATEGORIES, RasterMasks, random_batch

EVERYTHING = 1_000_000
"""A sampling budget that takes all candidates, so that nothing is random."""

TOLERANCES = {"float64": 1e-5, "float32": 1e-4}
"""Of losses relative to torchvision's loss, of boxes and keypoints to the longest side of a picture, of scores and
masks, which are probabilities, to 1."""

GRADIENT_TOLERANCES = {"float64": 1e-5, "float32": 1e-2}
"""Relative to the norm of torchvision's gradient. In float32 a maximum or a ReLU at its kink may decide otherwise in an
equal network; float64 shows that it is no more."""

NUM_KEYPOINTS = 5

LONGEST_SIDE = 128
"""Of the pictures, pixels."""


def parity_spec(norm: Norm, is_full: bool = False) -> ModelSpec:
    """R50-FPN 4conv1fc with torchvision's choices wherever it differs from Detectron.

    Pyramid and heads are narrow, which keeps tests quick, unless they are to have the recipe's widths (``is_full``).
    """
    box, mask, points = (BoxHeadSpec(), MaskHeadSpec(), KeypointHeadSpec(num_keypoints=NUM_KEYPOINTS))
    if not is_full:
        box, mask = replace(box, conv_channels=32, fc_channels=64), replace(mask, conv_channels=32, num_convs=2)
        points = replace(points, conv_channels=32)
    return ModelSpec(
        norm=norm,
        fpn_channels=256 if is_full else 32,
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
        box_head=replace(box, rois_per_image=EVERYTHING, foreground_fraction=1.0, smooth_l1_beta=1 / 9),
        mask_head=mask,
        keypoint_head=points,
    )


def parity_detector(norm: Norm, dtype: torch.dtype = torch.float64, is_full: bool = False) -> Detector:
    """Ours, with predictors that say something: with the recipe's all boxes would be anchors and all scores equal."""
    evaluation = EvalSpec(score_threshold=0.15, detections_per_image=40)
    detector = build_detector(parity_spec(norm, is_full), NUM_CATEGORIES, evaluation)
    initialize(detector, 0)
    torch.manual_seed(0)
    for module in (detector.rpn.objectness, detector.rpn.box, detector.box_head.category, detector.box_head.box):
        assert isinstance(module, nn.Conv2d | nn.Linear)
        nn.init.normal_(module.weight, std=0.05)
    return detector.to(dtype)


def parity_twin(ours: Detector) -> Any:
    """torchvision's detector with the weights of ``ours``, that takes pictures as they are, of 0 to 255.

    Its weights lie channels last in memory, as ours do. torch's norms sum in another order when pictures lie
    channels first, and a random network of this depth makes 4e-4 of that rounding (R50 with BN, float32); with the same
    layout the maps of both are the same bits.
    """
    theirs = torchvision_twin(ours, min_size=1, max_size=1000)
    keep_sizes(theirs)
    pixels = ours.spec.pixels
    theirs.transform.image_mean, theirs.transform.image_std = list(pixels.mean), list(pixels.std)
    theirs.to(next(ours.parameters()).dtype).to(memory_format=torch.channels_last)
    for part in (theirs.roi_heads.keypoint_head, theirs.roi_heads.keypoint_predictor):
        part.to(memory_format=torch.contiguous_format)  # has no norm, and a loss that takes no other layout
    return theirs


def parity_inputs(batch: Batch, dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """The batch as torchvision's detector takes it."""
    masks = [target.masks.masks for target in batch.targets if isinstance(target.masks, RasterMasks)]
    images, targets = torchvision_batch(batch, masks)
    return [(255 * image).round().to(dtype) for image in images], targets


def parity_batch() -> Batch:
    """Two pictures with instances, masks and keypoints, some of which are hidden, absent or out of their box."""
    batch = random_batch((3, 5), ((96, 128), (80, 96)))
    generator = torch.Generator().manual_seed(1)
    for target in batch.targets:
        number = len(target.boxes)
        low, sides = target.boxes[:, None, :2], target.boxes[:, None, 2:] - target.boxes[:, None, :2]
        place = low + sides * (1.2 * torch.rand(number, NUM_KEYPOINTS, 2, generator=generator) - 0.1)
        seen = torch.randint(0, 3, (number, NUM_KEYPOINTS, 1), generator=generator)
        target.keypoints = torch.cat([place, seen], 2)
    return batch


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest difference in one quantity."""

    name: str
    value: float
    tolerances: dict[str, float]
    """By precision."""


def detector_differences(norm: Norm, dtype: torch.dtype, is_full: bool = False) -> Iterator[Difference]:
    """Losses and gradients in training, detections in evaluation."""
    ours = parity_detector(norm, dtype, is_full)
    theirs = parity_twin(ours)
    batch = parity_batch()
    losses, expected = ours.train()(batch), theirs.train()(*parity_inputs(batch, dtype))
    for their_name, name in LOSS_NAMES.items():
        yield Difference(name, abs(losses[name].item() / expected[their_name].item() - 1), TOLERANCES)
    sum(losses.values()).backward()
    sum(expected.values()).backward()
    own, other = ours.backbone.get_parameter("conv1.weight").grad, theirs.backbone.body.conv1.weight.grad
    yield Difference("gradient of conv1", float((own - other).norm() / other.norm()), GRADIENT_TOLERANCES)
    with torch.no_grad():
        found, wanted = ours.eval().detect(batch), theirs.eval()(parity_inputs(batch, dtype)[0])
    for part in ("scores", "boxes", "masks", "keypoints"):
        worst = 0.0
        for one, their in zip(found, wanted, strict=True):
            mine, peer = getattr(one, part), their[part][:, 0] if part == "masks" else their[part]
            if part == "keypoints":  # torchvision has a constant 1 as third value
                mine, peer = mine[..., :2], peer[..., :2]
            worst = max(worst, float((mine - peer).abs().max())) if mine.shape == peer.shape else float("inf")
        side = LONGEST_SIDE if part in ("boxes", "keypoints") else 1
        yield Difference(part, worst / side, TOLERANCES)


def main() -> None:
    """Print every difference; exit with 1 when one is too large."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--norms", nargs="+", choices=("gn", "bn"), default=["gn", "bn"])
    parser.add_argument("--precisions", nargs="+", choices=tuple(TOLERANCES), default=list(TOLERANCES))
    parser.add_argument("--full", action="store_true", help="the recipe's widths in pyramid and heads")
    options = parser.parse_args()
    bad = 0
    for precision in options.precisions:
        for norm in options.norms:
            print(f"{precision}, {norm}")
            found = detector_differences(norm, getattr(torch, precision), options.full)
            bad += sum([_told(difference, difference.tolerances[precision]) for difference in found])
    sys.exit(1 if bad else 0)


def _told(found: Difference, tolerance: float) -> bool:
    """Print it; whether it is too large. A difference that is no number is."""
    is_bad = not found.value <= tolerance
    print(f"  {found.name:28} {found.value:.2e}  {'ABOVE ' if is_bad else 'within'} {tolerance:g}")
    return is_bad


if __name__ == "__main__":
    main()
