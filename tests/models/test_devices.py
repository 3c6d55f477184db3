"""A stray CPU tensor in a CUDA run fails here, without a GPU: under FakeTensorMode devices are checked, nothing runs.

How far it reaches: building, the move of weights and batch, backbone, pyramid, proposal heads, anchors, and the heads
on RoIs. Where the number of rows depends on data (suppression, the RoIs of an image) a fake tensor has no number, so
these are called here with shapes of their own. Backward does not work there.
"""

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from raystudy.data.batch import Batch
from raystudy.models.anchors import grid_anchors
from raystudy.models.boxes import clip, decode, encode, pairwise_iou
from raystudy.models.detector import Detector, build_detector
from raystudy.models.targets import draw, match, pad_targets
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.model import CascadeSpec, KeypointHeadSpec, ModelSpec, Norm
from tests.models.synthetic import random_batch, tiny_spec

CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def _fake() -> Iterator[None]:
    grid_anchors.cache_clear()
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield
    grid_anchors.cache_clear()  # it keeps fake tensors, which no other test may meet


def _specs() -> dict[str, ModelSpec]:
    norms: tuple[Norm, ...] = ("gn", "bn", "frozen_bn", "none")
    found = {f"tiny {norm}": tiny_spec(norm=norm) for norm in norms}
    found["cascade"] = dataclasses.replace(tiny_spec(), cascade=CascadeSpec())
    small = KeypointHeadSpec(num_keypoints=3, pool_size=4, num_convs=1, conv_channels=8)
    found["keypoints"] = dataclasses.replace(tiny_spec(), keypoint_head=small)
    vgg = tiny_spec("tiny_vgg", "none", has_masks=False)
    found["vgg"] = dataclasses.replace(vgg, neck="none")
    return found


def _on_cuda(spec: ModelSpec) -> tuple[Detector, Batch]:
    """``Module.to`` cannot swap real tensors for fake ones: what it would move, parameters and buffers, is put in."""
    with unset_fake_temporarily():
        detector = build_detector(spec, 6, EvalSpec())
    for module in detector.modules():
        for name, parameter in module.named_parameters(recurse=False):
            moved = torch.empty(parameter.shape, device=CUDA, dtype=parameter.dtype)
            module._parameters[name] = torch.nn.Parameter(moved)
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = torch.empty(buffer.shape, device=CUDA, dtype=buffer.dtype)
    batch = random_batch((2, 1))
    return detector, dataclasses.replace(batch, images=batch.images.to(CUDA))  # streams there are none to send it in


@pytest.mark.parametrize("name", _specs())
def test_trunk_proposals_and_heads_stay_on_the_device(name: str) -> None:
    detector, batch = _on_cuda(_specs()[name])
    with torch.no_grad():
        features = detector.features(batch)
        objectness, deltas = detector.rpn(features)
        anchors = detector.rpn.anchors(features)
        limits = detector._limits(batch.sizes, features[0].device)
        truth = pad_targets(batch.targets, CUDA)
        losses = detector.rpn.losses(objectness, deltas, anchors, truth, limits)
        assert all(loss.device.type == "cuda" for loss in losses.values())
        assert clip(decode(torch.cat(deltas, 1), anchors, (1, 1, 1, 1)), limits[:, None]).device.type == "cuda"
        width = features[0].shape[1]
        for branch in (detector.mask_head, detector.keypoint_head):
            if branch is not None:
                assert branch(torch.zeros(3, width, 4, 4, device=CUDA)).device.type == "cuda"
        heads = detector.box_head.stages if detector.spec.cascade else [detector.box_head]
        for head in heads:  # type: ignore[union-attr]
            assert head(torch.zeros(3, width, 7, 7, device=CUDA))[1].device.type == "cuda"


def test_matching_and_drawing_stay_on_the_device() -> None:
    truth = pad_targets(random_batch((2, 1)).targets, CUDA)
    boxes = torch.zeros(2, 9, 4, device=CUDA)
    found = match(truth, boxes)
    drawn = draw(found.iou > 0.5, found.iou <= 0.5, 4, 0.5)
    assert {value.device.type for value in (found.iou, found.instance, drawn.index, drawn.is_drawn)} == {"cuda"}
    assert encode(boxes, boxes, (1, 1, 1, 1)).device.type == "cuda"
    assert pairwise_iou(boxes, boxes).device.type == "cuda"


def test_a_stray_cpu_tensor_fails() -> None:
    detector, batch = _on_cuda(tiny_spec())
    detector.pixels.mean = torch.zeros(3, 1, 1)
    with pytest.raises(RuntimeError, match="device"):
        detector.features(batch)
