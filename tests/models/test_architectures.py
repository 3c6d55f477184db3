"""Sizes of the paper's networks."""

from pathlib import Path

import pytest

from benchmarks.architectures import Counts, architectures, count, document, table

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "architectures.md"


def _row(name: str) -> Counts:
    return count(name, architectures()[name], 800, 1333, 80)


@pytest.mark.parametrize("name", ["resnet50", "resnet101", "vgg16"])
def test_backbones_have_as_many_parameters_and_flops_as_torchvisions(name: str) -> None:
    row = _row(name)
    assert (row.backbone_parameters, row.backbone_flops) == (row.peer_parameters, row.peer_flops)


def test_the_resnext_has_four_times_the_flops_of_resnet101_as_the_paper_says() -> None:
    reference = _row("resnet101").backbone_flops
    assert _row("resnext152_8x32d").backbone_flops / reference == pytest.approx(4.2, abs=0.05)
    assert _row("resnext152_32x8d").backbone_flops / reference == pytest.approx(3.1, abs=0.05)


def test_the_tiny_ladder_differs_as_the_large_one_does() -> None:
    flops = [count(name, architectures()[name], 128, 128, 6).flops for name in ("tiny", "tiny_grouped", "tiny_deep")]
    assert flops == sorted(flops)
    assert len(set(flops)) == 3


def test_the_table_has_a_line_for_each_architecture() -> None:
    rows = [count("tiny", architectures()["tiny"], 128, 128, 6)]
    assert table(rows).splitlines()[2].startswith("| tiny | 0.693 |")


def test_the_document_is_what_the_command_prints() -> None:
    assert DOCUMENT.read_text() == document(), "python benchmarks/architectures.py > docs/architectures.md"
