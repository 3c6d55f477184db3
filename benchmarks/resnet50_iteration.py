"""One training iteration of the paper's detector at 320 pixels, against torchvision's parts; the optimizer on its own.

R50-FPN with GN, 4conv1fc, batch 2. Both sides get the same pictures and, after paying for their own proposals, the same
1,000 boxes a picture, of which enough are foreground: the heads are most of the work, and their share of it would
otherwise hang on what two random networks propose.
"""

import dataclasses
import functools
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.row import Outcome, Row
from benchmarks.simulated_masks import HEIGHT, WIDTH, mask_study
from benchmarks.timing import in_turns, take_turns
from benchmarks.torchvision_detector import keep_sizes, torchvision_batch, torchvision_twin
from raystudy.data.batch import Batch, Target
from raystudy.data.masks import CompactMasks
from raystudy.models.detector import Detector, build_detector
from raystudy.models.initialization import initialize
from raystudy.models.rpn import Proposals
from raystudy.spec.presets import load_preset
from raystudy.spec.trial import TrialSpec
from raystudy.training.loop import autocast
from raystudy.training.optimizer import build_optimizer, set_lr

SHORT_SIDE = 320
PICTURES, CATEGORIES, BOXES = 2, 80, 1000
LR = 1e-6
"""So small that neither side's weights go anywhere in a few iterations."""

UPDATES = 5
"""Of the optimizer in a round: one takes a few hundredths of a second."""


def _iteration(quick: bool, precision: str) -> Outcome:
    if precision == "bf16" and not _has_bf16():
        return Outcome(missing=f"{platform.processor() or 'this CPU'} has neither avx512_bf16 nor amx_bf16")
    spec = dataclasses.replace(load_preset("paper").base, precision=precision)  # type: ignore[arg-type]
    detector = build_detector(spec.model, CATEGORIES, spec.evaluation).train()
    initialize(detector, 0)
    batch, boxes = _batch(64 if quick else SHORT_SIDE)
    ours, our_rois = _ours(detector, spec, batch, boxes)
    theirs, their_rois = _theirs(detector, batch, boxes)
    turns = take_turns(ours, theirs, quick=quick, warm_ups=0)
    height, width = batch.sizes[0]
    note = (
        f"{PICTURES} pictures of {height} x {width}, {our_rois['box']} RoIs, {our_rois['mask']} of them with mask; "
        f"ours {precision}, the peer's fp32; equal results are the business of benchmarks/parity.py"
    )
    return Outcome(*turns, is_right=our_rois == their_rois, note=note)


def _has_bf16() -> bool:
    info = Path("/proc/cpuinfo")
    return info.exists() and any(flag in info.read_text() for flag in ("avx512_bf16", "amx_bf16"))


def _batch(short_side: int) -> tuple[Batch, list[Tensor]]:
    """Pictures of noise with outlined objects, and boxes that stand for proposals: 400 near objects, others not."""
    truth, _ = mask_study(PICTURES, num_detections=1)
    rng = np.random.default_rng(0)
    scale = short_side / HEIGHT
    size = (short_side, round(WIDTH * scale))
    padded = (-(-size[0] // 32) * 32, -(-size[1] // 32) * 32)
    targets, proposals = [], []
    for picture in range(1, PICTURES + 1):
        own = [one for one in truth["annotations"] if one["image_id"] == picture]
        corners = np.array([one["bbox"] for one in own]) * scale
        corners[:, 2:] += corners[:, :2]
        rings = [(np.array(one["segmentation"][0], dtype=np.float32).reshape(-1, 2),) for one in own]
        masks = CompactMasks(rings).scaled(size[1] / WIDTH, scale)
        labels = torch.tensor([one["category_id"] for one in own])
        targets.append(Target(torch.from_numpy(corners).float(), labels, masks))
        near = corners[rng.integers(0, len(corners), 400)]
        near = near + rng.uniform(-0.08, 0.08, near.shape) * np.tile(near[:, 2:] - near[:, :2], 2)
        low = rng.uniform(0, 0.8, (BOXES - 400, 2)) * [size[1], size[0]]
        anywhere = np.concatenate([low, low + rng.uniform(8, 60, low.shape)], axis=1)
        boxes = np.clip(np.concatenate([near, anywhere]), 0, [size[1], size[0], size[1], size[0]])
        proposals.append(torch.from_numpy(boxes).float())
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(PICTURES, 3, *padded, dtype=torch.uint8)
    shape = (PICTURES, 3, *size)
    images[:, :, : size[0], : size[1]] = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    sizes = [size] * PICTURES
    return Batch(images, sizes, targets, list(range(PICTURES)), sizes), proposals


def _ours(
    detector: Detector, spec: TrialSpec, batch: Batch, boxes: list[Tensor]
) -> tuple[Callable[[], None], dict[str, int]]:
    optimizer = build_optimizer(detector, spec.optimizer)
    set_lr(optimizer, LR)
    propose = detector.rpn.propose
    fixed = Proposals(torch.stack(boxes), torch.ones(PICTURES, BOXES, dtype=torch.bool))

    def paid_for(*arguments: Any, **named: Any) -> Proposals:
        propose(*arguments, **named)
        return fixed

    detector.rpn.propose = paid_for  # type: ignore[method-assign]

    def iteration() -> None:
        torch.manual_seed(0)
        with autocast(spec, torch.device("cpu")):
            losses = detector(batch)
        _step(optimizer, losses)

    return iteration, _counted(box=detector.box_head, mask=detector.mask_head)


def _theirs(detector: Detector, batch: Batch, boxes: list[Tensor]) -> tuple[Callable[[], None], dict[str, int]]:
    twin = torchvision_twin(detector, min_size=1, max_size=1333).train()
    keep_sizes(twin)
    pixels = detector.spec.pixels
    twin.transform.image_mean, twin.transform.image_std = list(pixels.mean), list(pixels.std)
    optimizer = torch.optim.SGD(twin.parameters(), lr=LR, momentum=0.9, weight_decay=1e-4)
    masks = [
        torch.from_numpy(_full_masks(target, size)) for target, size in zip(batch.targets, batch.sizes, strict=True)
    ]
    images, targets = torchvision_batch(batch, masks)
    images = [255 * image.flip(0) for image in images]  # its weights are ours, which want BGR of 0 to 255
    filter_proposals = twin.rpn.filter_proposals

    def paid_for(*arguments: Any) -> tuple[list[Tensor], list[Tensor]]:
        _, scores = filter_proposals(*arguments)
        return boxes, scores

    twin.rpn.filter_proposals = paid_for

    def iteration() -> None:
        torch.manual_seed(0)
        _step(optimizer, twin(images, targets))

    heads = twin.roi_heads
    return iteration, _counted(box=heads.box_head, mask=heads.mask_head)


def _counted(**heads: nn.Module | None) -> dict[str, int]:
    """RoIs that each head saw last: what the most work hangs on."""
    seen: dict[str, int] = {}

    def count(name: str, inputs: tuple[Tensor, ...]) -> None:
        seen[name] = len(inputs[0])

    for name, head in heads.items():
        assert head is not None
        head.register_forward_pre_hook(lambda _, inputs, name=name: count(name, inputs))
    return seen


def _full_masks(target: Target, size: tuple[int, int]) -> np.ndarray[Any, Any]:
    assert isinstance(target.masks, CompactMasks)
    return np.ascontiguousarray(target.masks.window(size[1], size[0]))


def _step(optimizer: torch.optim.Optimizer, losses: dict[str, Tensor]) -> None:
    total = torch.stack(list(losses.values())).sum()
    optimizer.zero_grad()
    total.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _optimizer(quick: bool) -> Outcome:
    """Both from the same weights with the same gradients and settings, so that they end at the same weights."""
    spec = load_preset("paper").base
    sides = [build_detector(spec.model, CATEGORIES, spec.evaluation) for _ in range(2)]
    sides[1].load_state_dict(sides[0].state_dict())
    generator = torch.Generator().manual_seed(0)
    for own, other in zip(sides[0].parameters(), sides[1].parameters(), strict=True):
        own.grad = torch.empty_like(own).normal_(0, 0.01, generator=generator)  # laid out as autograd lays it out
        other.grad = own.grad.clone()
    ours = build_optimizer(sides[0], spec.optimizer)
    set_lr(ours, 0.01)
    ours_of = {id(own): other for own, other in zip(sides[0].parameters(), sides[1].parameters(), strict=True)}
    groups = [{**group, "params": [ours_of[id(p)] for p in group["params"]]} for group in ours.param_groups]
    kept = [{name: group[name] for name in ("params", "lr", "weight_decay")} for group in groups]
    peer = torch.optim.SGD(kept, momentum=spec.optimizer.momentum, foreach=True)
    number = sum(parameter.numel() for parameter in sides[0].parameters())
    works = [functools.partial(_repeated, step) for step in (ours.step, peer.step, _flat_update(number))]
    own, other, floor = ([taken / UPDATES for taken in side] for side in in_turns(works, quick=quick))
    apart = max(
        float((own - other).detach().abs().max())
        for own, other in zip(sides[0].parameters(), sides[1].parameters(), strict=True)
    )
    least = statistics.median(floor)
    moved = 5 * 4 * number  # weight and momentum are read and written, the gradient is read
    note = (
        f"{number / 1e6:.1f} M parameters; weights differ by {apart:.0e} after all rounds; memory allows at most "
        f"{statistics.median(b / a for a, b in zip(floor, other, strict=True)):.2f}x: one tensor of as many elements "
        f"takes {1000 * least:.0f} ms, {moved / least / 1e9:.0f} GB/s"
    )
    return Outcome(own, other, is_right=apart < 1e-6, floor=floor, note=note)


def _repeated(step: Callable[[], None]) -> None:
    for _ in range(UPDATES):
        step()


def _flat_update(number: int) -> Callable[[], None]:
    """An update where nothing but the memory counts: of one tensor, in one piece."""
    weight = nn.Parameter(torch.ones(number))
    weight.grad = torch.ones(number)
    optimizer = torch.optim.SGD([weight], lr=1e-6, momentum=0.9, weight_decay=1e-4, fused=True)
    return optimizer.step


ROWS = (
    Row(
        name="resnet50_iteration",
        what="training iteration, R50-FPN GN 4conv1fc, 320 pixels, batch 2, fp32",
        against="the same of torchvision's parts",
        measure=functools.partial(_iteration, precision="fp32"),
        at_most=1.1,
        stretch=1 / 1.1,
    ),
    Row(
        name="resnet50_bf16",
        what="the same iteration in bf16 autocast",
        against="torchvision's parts in fp32",
        measure=functools.partial(_iteration, precision="bf16"),
        at_least=1.7,
        stretch=2,
    ),
    Row(
        name="optimizer",
        what="one SGD update of R50-FPN GN 4conv1fc",
        against="torch's foreach SGD",
        measure=_optimizer,
        at_least=3,
    ),
)
