"""Matching and drawing of candidates."""

import torch

from raystudy.models.targets import draw, match, pad_targets
from tests.models.synthetic import random_batch


def test_targets_are_padded_with_what_matches_nothing() -> None:
    truth = pad_targets(random_batch((2, 0, 3)).targets, torch.device("cpu"))
    assert truth.boxes.shape == (3, 3, 4)
    assert truth.valid.sum(1).tolist() == [2, 0, 3]
    found = match(truth, truth.boxes[2])
    assert (found.iou[1] == -1).all()
    assert not found.best_of_instance[1].any()
    assert found.instance[2].tolist() == [0, 1, 2]


def test_an_instance_that_touches_no_usable_candidate_has_no_best_one() -> None:
    truth = pad_targets(random_batch((1,)).targets, torch.device("cpu"))
    far = torch.tensor([[200.0, 200, 210, 210], [300, 300, 310, 310]])
    assert not match(truth, far).best_of_instance.any()
    candidates = torch.cat([truth.boxes[0], far])
    usable = torch.tensor([[False, True, True]])
    assert not match(truth, candidates, usable).best_of_instance.any()


def test_draws_are_within_the_budget_and_repeat_with_the_seed() -> None:
    generator = torch.Generator().manual_seed(0)
    foreground = torch.rand(3, 50, generator=generator) < torch.tensor([[0.5], [0.02], [0.0]])
    background = ~foreground
    background[2] = False
    torch.manual_seed(7)
    first = draw(foreground, background, 16, 0.25)
    torch.manual_seed(7)
    second = draw(foreground, background, 16, 0.25)
    assert torch.equal(first.index, second.index)
    assert first.is_foreground.sum(1).tolist() == [4, min(4, int(foreground[1].sum())), 0]
    assert first.is_drawn.sum(1).tolist() == [16, 16, 0]
    # What is drawn is what it says it is, and no candidate twice.
    assert foreground.gather(1, first.index)[first.is_foreground].all()
    assert background.gather(1, first.index)[first.is_drawn & ~first.is_foreground].all()
    assert len(set(first.index[0][first.is_drawn[0]].tolist())) == 16
    # Foreground first, empty places last.
    assert (first.is_foreground.int().diff() <= 0).all()
    assert (first.is_drawn.int().diff() <= 0).all()


def test_every_candidate_is_drawn_equally_often() -> None:
    torch.manual_seed(0)
    foreground = torch.zeros(4000, 10, dtype=torch.bool)
    drawn = draw(foreground, ~foreground, 3, 0.5)
    counts = torch.bincount(drawn.index.flatten(), minlength=10)
    # Binomial(4000, 0.3): mean 1200, sd 29.
    assert (counts - 1200).abs().max() < 5 * 29
