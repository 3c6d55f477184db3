"""One training iteration of the demo's detector, against the same detector of torchvision's parts."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.row import Outcome, Row
from benchmarks.timing import take_turns
from benchmarks.torchvision_detector import torchvision_batch, torchvision_twin
from raystudy.data.batch import Batch
from raystudy.data.coco import CocoDataset
from raystudy.data.loader import TrainLoader
from raystudy.data.masks import CompactMasks
from raystudy.data.shapes import render_shapes
from raystudy.models.detector import build_detector
from raystudy.models.initialization import initialize
from raystudy.spec.presets import load_preset
from raystudy.training.optimizer import build_optimizer


def _tiny(quick: bool) -> Outcome:
    """Both have the same weights, pictures and budgets, and one plain SGD with momentum."""
    batches = demo_batches(1 if quick else 4)
    turns = take_turns(_over(_ours(batches), batches), _over(_theirs(batches), batches), quick=quick)
    return Outcome(
        *turns, note=f"{len(batches[0].sizes)} pictures of 128 x 128, backbone tiny, same weights and budgets"
    )


def _over(iteration: Callable[[int], None], batches: list[Batch]) -> Callable[[], None]:
    """A round: every batch twice, drawn alike by both sides."""

    def round_of_iterations() -> None:
        torch.manual_seed(0)
        for number in [*range(len(batches)), *range(len(batches))]:
            iteration(number)

    return round_of_iterations


def demo_batches(number: int = 4) -> list[Batch]:
    """The first batches of the demo on the embedded shapes."""
    spec = load_preset("demo").base
    assert spec.data.shapes is not None
    folder = render_shapes(spec.data.shapes)
    dataset = CocoDataset.load(folder / "train", folder / "instances_train.json")
    loader = TrainLoader(dataset, spec, 0, 1)
    return [loader.batch(index) for index in range(number)]


def _ours(batches: list[Batch]) -> Callable[[int], None]:
    spec = load_preset("demo").base
    detector = build_detector(spec.model, spec.data.num_categories, spec.evaluation)
    initialize(detector, 0)
    optimizer = build_optimizer(detector, spec.optimizer)

    def iteration(index: int) -> None:
        _step(optimizer, detector(batches[index]))

    return iteration


def _theirs(batches: list[Batch]) -> Callable[[int], None]:
    spec = load_preset("demo").base
    detector = build_detector(spec.model, spec.data.num_categories, spec.evaluation)
    initialize(detector, 0)
    twin = torchvision_twin(detector, min_size=spec.input.test_short_side, max_size=spec.input.max_side).train()
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)  # as its references
    inputs = [torchvision_batch(batch, _full_masks(batch)) for batch in batches]

    def iteration(index: int) -> None:
        _step(optimizer, twin(*inputs[index]))

    return iteration


def _step(optimizer: torch.optim.Optimizer, losses: dict[str, Tensor]) -> None:
    optimizer.zero_grad()
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _full_masks(batch: Batch) -> list[Tensor]:
    masks = []
    for target, (height, width) in zip(batch.targets, batch.sizes, strict=True):
        assert isinstance(target.masks, CompactMasks)
        masks.append(torch.from_numpy(target.masks.window(width, height)))
    return masks


ROWS = (
    Row(
        name="tiny_iteration",
        what="training iteration of the demo's detector",
        against="the same of torchvision's parts",
        measure=_tiny,
        at_least=1.3,
        stretch=1.7,
    ),
)
