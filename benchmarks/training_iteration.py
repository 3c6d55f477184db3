"""CPU time of one training iteration of the demo's detector, against the same detector of torchvision's parts.

Both have the same weights, pictures and budgets. Variants take turns in random order within one process, one thread,
and process CPU time is counted, so that other load on the machine weighs on both alike; only the ratio is a result.

    python benchmarks/training_iteration.py [--repeats 12]
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision_detector import torchvision_batch, torchvision_twin

from raystudy.data.batch import Batch
from raystudy.data.coco import CocoDataset
from raystudy.data.loader import TrainLoader
from raystudy.data.masks import CompactMasks
from raystudy.data.shapes import render_shapes
from raystudy.models.detector import build_detector
from raystudy.models.initialization import initialize
from raystudy.spec.presets import load_preset

WARM_UPS = 3


def main() -> None:
    """Print the median CPU time of each variant and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    batches = demo_batches()
    variants = {"raystudy": _ours(batches), "torchvision": _theirs(batches)}
    times: dict[str, list[float]] = {name: [] for name in variants}
    order = random.Random(0)
    for turn in range(WARM_UPS + options.repeats):
        for name in order.sample(list(variants), len(variants)):
            torch.manual_seed(turn)
            before = time.process_time()
            variants[name](turn % len(batches))
            if turn >= WARM_UPS:
                times[name].append(1000 * (time.process_time() - before))
    for name, values in times.items():
        print(f"{name:12} {statistics.median(values):7.1f} ms CPU an iteration (least {min(values):.1f})")
    ratio = statistics.median(times["torchvision"]) / statistics.median(times["raystudy"])
    pictures = len(batches[0].sizes)
    print(f"raystudy is {ratio:.2f} times as fast; {options.repeats} repeats, {pictures} pictures an iteration")


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
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.01, momentum=0.9, fused=True)

    def iteration(index: int) -> None:
        _step(optimizer, detector(batches[index]))

    return iteration


def _theirs(batches: list[Batch]) -> Callable[[int], None]:
    spec = load_preset("demo").base
    detector = build_detector(spec.model, spec.data.num_categories, spec.evaluation)
    initialize(detector, 0)
    twin = torchvision_twin(detector, min_size=spec.input.test_short_side, max_size=spec.input.max_side).train()
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.01, momentum=0.9)
    inputs = [torchvision_batch(batch, _full_masks(batch)) for batch in batches]

    def iteration(index: int) -> None:
        _step(optimizer, twin(*inputs[index]))

    return iteration


def _step(optimizer: torch.optim.Optimizer, losses: dict[str, Tensor]) -> None:
    optimizer.zero_grad()
    torch.stack(list(losses.values())).sum().backward()
    optimizer.step()


def _full_masks(batch: Batch) -> list[Tensor]:
    masks = []
    for target, (height, width) in zip(batch.targets, batch.sizes, strict=True):
        assert isinstance(target.masks, CompactMasks)
        masks.append(torch.from_numpy(target.masks.window(width, height)))
    return masks


if __name__ == "__main__":
    main()
