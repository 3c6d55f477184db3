"""Intervals against known truth. Coverage is counted over simulated studies, with fixed seeds."""

import numpy as np
import pytest
from scipy import stats

from analysis.crossover import break_even, break_even_size, crossovers, delta, delta_of_bests
from analysis.statistics import NUM_DRAWS, Cell, Interval, make_draws

PAPER_R50 = {
    "random": {180: 36.8, 270: 39.5, 360: 40.6, 450: 40.7, 540: 41.3},
    "pretrained": {180: 40.3, 270: 40.8, 360: 40.9, 450: 40.9, 540: 41.1},
}


def one_seed(table: dict[str, dict[int, float]]) -> dict[Cell, dict[int, float]]:
    return {(init, total): {0: ap} for init, line in table.items() for total, ap in line.items()}


@pytest.mark.parametrize(("tolerance", "total"), [(0.1, 540), (0.3, 540), (0.4, 450), (0.5, 360), (1.0, 360), (2, 270)])
def test_the_papers_numbers_cross_over_where_the_paper_says(tolerance: float, total: int) -> None:
    (found,) = crossovers(make_draws(one_seed(PAPER_R50)), [tolerance])
    assert found.total == total
    assert np.isnan(found.share)


def test_numbers_without_chance_have_no_interval() -> None:
    assert not delta(make_draws(one_seed(PAPER_R50)), 540).is_known


def test_with_seeds_alone_the_interval_is_students() -> None:
    random, pretrained = [40.0, 41.0, 43.0], [39.0, 40.5, 41.0]
    cells = {("random", 1): dict(enumerate(random)), ("pretrained", 1): dict(enumerate(pretrained))}
    found = delta(make_draws(cells, num_draws=200_000), 1)
    expected = stats.ttest_ind(random, pretrained).confidence_interval(0.95)
    assert found.low == pytest.approx(expected.low, abs=0.1)
    assert found.high == pytest.approx(expected.high, abs=0.1)


def test_intervals_cover_the_truth_with_three_seeds() -> None:
    """A seed's luck is shared by its schedules; 95% intervals of the difference must hold the truth in about 95%."""
    rng, covered, studies = np.random.default_rng(3), 0, 600
    for _ in range(studies):
        cells: dict[Cell, dict[int, float]] = {}
        for init, level in (("random", 40.0), ("pretrained", 41.0)):
            luck = rng.normal(0, 1, 3)
            for total in (1, 2):
                cells[init, total] = {seed: level + luck[seed] + rng.normal(0, 0.3) for seed in range(3)}
        found = delta(make_draws(cells, num_draws=400), 2)
        covered += found.low <= -1.0 <= found.high
    assert 0.93 <= covered / studies <= 0.97


def test_one_seed_in_one_arm_borrows_the_others_spread() -> None:
    cells = {("random", 1): {0: 40.0, 1: 42.0}, ("pretrained", 1): {0: 41.0}}
    found = delta(make_draws(cells, num_draws=100_000), 1)
    # Variance s^2 (1/2 + 1) with s^2 = 2 and one degree of freedom.
    half_width = stats.t.ppf(0.975, 1) * np.sqrt(2 * 1.5)
    assert (found.high - found.low) / 2 == pytest.approx(half_width, rel=0.05)


def test_branches_of_a_trunk_move_together() -> None:
    """Seeds that are lucky at one schedule are lucky at the other, so the gain between schedules is known well."""
    cells = {("random", total): {s: total + luck for s, luck in enumerate((-2.0, 0.0, 2.0))} for total in (1, 2)}
    cells |= {("pretrained", total): dict.fromkeys(range(3), 9.0) for total in (1, 2)}
    gain = make_draws(cells).interval(lambda ap: ap["random", 2] - ap["random", 1])
    assert gain.low == pytest.approx(1.0)
    assert gain.high == pytest.approx(1.0)


def test_the_best_schedule_is_chosen_in_each_draw() -> None:
    """Two equal schedules: the expected best of two noisy ones lies above either, and the interval must show it."""
    rng = np.random.default_rng(0)
    values = {("pretrained", 1): {0: 40.0}, ("pretrained", 2): {0: 40.0}, ("random", 1): {0: 40.0}}
    images = {cell: {0: 40.0 + rng.normal(0, 1, NUM_DRAWS)} for cell in values}
    found = delta_of_bests(make_draws(values, images))
    assert found.value == 0.0
    assert (found.low + found.high) / 2 < -0.3


def test_images_and_seeds_add_up() -> None:
    rng = np.random.default_rng(0)
    values = {("random", 1): {0: 39.0, 1: 40.0, 2: 41.0}, ("pretrained", 1): {0: 39.5, 1: 40.0, 2: 40.5}}
    images = {c: {s: ap + rng.normal(0, 2, NUM_DRAWS) for s, ap in by_seed.items()} for c, by_seed in values.items()}
    seeds_only, both = delta(make_draws(values), 1), delta(make_draws(values, images), 1)
    assert both.high - both.low > seeds_only.high - seeds_only.low


def test_images_of_only_some_trials_are_left_out_for_all() -> None:
    values = {("random", 1): {0: 39.0}, ("pretrained", 1): {0: 39.5}}
    draws = make_draws(values, {("random", 1): {0: np.full(NUM_DRAWS, 39.0)}})
    assert not draws.has_images
    assert not delta(draws, 1).is_known


def test_the_paper_breaks_down_between_3500_and_10000_images() -> None:
    gaps = {1000.0: Interval(3.5 - 9.9), 3500.0: Interval(9.3 - 16.0), 10000.0: Interval(25.9 - 26.0)}
    found = break_even(gaps | {35000.0: Interval(36.3 - 36.3)})
    assert (found.below, found.above) == (3500.0, 10000.0)


def test_break_even_with_intervals_needs_them_to_leave_zero() -> None:
    gaps = {10.0: Interval(-5, -6, -4), 100.0: Interval(-2, -4, 0.5), 1000.0: Interval(0, -1, 1)}
    assert (break_even(gaps).below, break_even(gaps).above) == (10.0, 100.0)
    assert break_even({10.0: Interval(0, -1, 1)}).below is None
    assert break_even({10.0: Interval(-3, -4, -2)}).above is None


def test_the_size_of_break_down_is_read_between_sizes_on_a_logarithmic_scale() -> None:
    found = break_even_size({100.0: (-3.0, np.full(9, -3.0)), 10_000.0: (1.0, np.full(9, 1.0))})
    assert found.value == pytest.approx(1000.0)
    assert not found.is_known


def test_the_interval_of_the_size_covers_the_truth() -> None:
    """The gap rises by 2 AP a decade and is -1 at 1,000 images; each size is measured with noise of 0.5 AP."""
    rng, covered, studies = np.random.default_rng(0), 0, 400
    for _ in range(studies):
        cells = {}
        for size in (10.0, 100.0, 1000.0, 10_000.0, 100_000.0):
            value = -1 + 2 * np.log10(size / 1000) + rng.normal(0, 0.5)
            cells[size] = (value, value + rng.normal(0, 0.5, 400))
        found = break_even_size(cells)
        covered += found.low <= 1000.0 <= found.high
    assert 0.92 <= covered / studies <= 0.98


def test_a_size_beyond_those_tried_is_no_number() -> None:
    behind = {10.0: (-9.0, np.full(9, -9.0)), 100.0: (-5.0, np.full(9, -5.0))}
    assert break_even_size(behind).value == np.inf
    ahead = {10.0: (1.0, np.full(9, 1.0)), 100.0: (2.0, np.full(9, 2.0))}
    assert break_even_size(ahead).value == 0.0


def test_the_papers_size_of_break_down_lies_between_3500_and_10000() -> None:
    paper = {1000.0: 3.5 - 9.9, 3500.0: 9.3 - 16.0, 10_000.0: 25.9 - 26.0, 35_000.0: 0.0}
    found = break_even_size({size: (gap, np.full(5, gap)) for size, gap in paper.items()})
    assert 3500 < found.value < 10_000
