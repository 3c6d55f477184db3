"""Sizes of the paper's networks."""

import pytest

from benchmarks.architectures import architectures, count, table


def _row(name: str) -> tuple[int, int, int | None]:
    counts = count(name, architectures()[name], 800, 1333, 80)
    return counts.backbone_parameters, counts.backbone_flops, counts.torchvision


@pytest.mark.parametrize("name", ["resnet50", "resnet101", "vgg16"])
def test_backbones_have_as_many_parameters_as_torchvisions(name: str) -> None:
    parameters, _, torchvisions = _row(name)
    assert parameters == torchvisions


def test_the_resnext_has_four_times_the_flops_of_resnet101_as_the_paper_says() -> None:
    reference = _row("resnet101")[1]
    assert _row("resnext152_8x32d")[1] / reference == pytest.approx(4.2, abs=0.05)
    assert _row("resnext152_32x8d")[1] / reference == pytest.approx(3.1, abs=0.05)


def test_the_tiny_ladder_differs_as_the_large_one_does() -> None:
    flops = [count(name, architectures()[name], 128, 128, 6).flops for name in ("tiny", "tiny_grouped", "tiny_deep")]
    assert flops == sorted(flops)
    assert len(set(flops)) == 3


def test_the_table_has_a_line_for_each_architecture() -> None:
    rows = [count("tiny", architectures()["tiny"], 128, 128, 6)]
    assert table(rows).splitlines()[2].startswith("| tiny | 0.693 |")
