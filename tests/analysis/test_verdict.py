"""The sentence claims what the numbers hold, and nothing more."""

from pathlib import Path

import pytest

from analysis.evidence import SettingEvidence, evidence
from analysis.load import load_study
from analysis.statistics import Interval
from analysis.verdict import Claim, seeds_needed, verdict
from raystudy.spec.trial import TrialSpec
from tests.analysis.synthetic import UNIT, Truth, trial, write_study

NOISE = (-1.0, 0.2, 0.8, 0.4, -0.4)
"""A seed's luck, AP."""


def ending(random: dict[int, float], pretrained: dict[int, float], noise: float = 0.0) -> Truth:
    """Curves that rise linearly to the given AP at each schedule (in units), plus each seed's luck."""

    def truth(spec: TrialSpec, iteration: int) -> dict[str, float]:
        ends = random if spec.init.kind == "random" else pretrained
        end = ends[spec.schedule.total // UNIT]
        is_branch = iteration > spec.schedule.milestones[0]
        share = iteration / spec.schedule.total if is_branch else 0.5 * iteration / spec.schedule.total
        sign = 1 if spec.init.kind == "random" else -1
        return {"box_ap": end * share + sign * noise * NOISE[spec.seed], "loss": 1.0}

    return truth


def judged(tmp_path: Path, truth: Truth, seeds: int, ks: tuple[int, ...] = (2, 4, 6)) -> SettingEvidence:
    specs = [trial(init, k, seed) for init in ("random", "pretrained") for k in ks for seed in range(seeds)]
    (one,) = evidence(load_study(str(tmp_path), write_study(tmp_path, specs, truth)))
    return one


def test_catch_up_with_narrow_intervals_is_claimed(tmp_path: Path) -> None:
    truth = ending({2: 30, 4: 39.8, 6: 40}, {2: 39, 4: 40, 6: 40}, noise=0.2)
    found = verdict(judged(tmp_path, truth, 5))
    assert found.claim is Claim.LEVEL
    assert found.headline == "Random init is within 1 AP of pre-trained's best from 4x on"
    assert "95% CI" in found.support
    assert "5 seeds" in found.support


def test_the_same_numbers_with_wide_intervals_are_not(tmp_path: Path) -> None:
    truth = ending({2: 30, 4: 39.8, 6: 40}, {2: 39, 4: 40, 6: 40}, noise=3.0)
    found = verdict(judged(tmp_path, truth, 3), hours_per_seed=0.5)
    assert found.claim is Claim.UNSURE
    assert found.headline.startswith("Cannot tell yet")
    assert "seeds" in found.support


def test_data_without_difference_gives_no_claim_of_one(tmp_path: Path) -> None:
    """Equal arms: neither "ahead" nor "behind" may be said, however wide the noise."""
    for noise in (0.1, 1.0, 4.0):
        folder = tmp_path / str(noise)
        found = verdict(judged(folder, ending({2: 30, 4: 35, 6: 40}, {2: 30, 4: 35, 6: 40}, noise), 3))
        assert found.claim in (Claim.LEVEL, Claim.UNSURE)


def test_a_lasting_gap_is_said(tmp_path: Path) -> None:
    found = verdict(judged(tmp_path, ending({2: 10, 4: 20, 6: 30}, {2: 39, 4: 40, 6: 40}, noise=0.3), 3))
    assert found.claim is Claim.BEHIND
    assert "random init still rises" in found.support


def test_random_ahead_is_said(tmp_path: Path) -> None:
    found = verdict(judged(tmp_path, ending({2: 30, 4: 40, 6: 45}, {2: 39, 4: 40, 6: 40}, noise=0.3), 3))
    assert found.claim is Claim.AHEAD
    assert "its best schedule is 6x" in found.headline


def test_one_seed_speaks_of_measured_numbers(tmp_path: Path) -> None:
    found = verdict(judged(tmp_path, ending({2: 30, 4: 40, 6: 40}, {2: 39, 4: 40, 6: 40}), 1))
    assert found.headline.startswith("As measured")
    assert "no confidence interval can be given" in found.support


def test_arms_that_have_not_learned_give_no_answer(tmp_path: Path) -> None:
    """Within 1 AP means nothing at 2 AP."""
    found = verdict(judged(tmp_path, ending({2: 1, 4: 1.5, 6: 2}, {2: 1.2, 4: 2, 6: 2.2}), 1))
    assert found.claim is Claim.NONE
    assert "neither init has learned to detect" in found.support


@pytest.mark.parametrize(
    ("gap", "seeds", "images_half", "needed"),
    [
        (Interval(0.0, -3.0, 3.0), 1, 0.0, 3),
        (Interval(0.0, -1.5, 1.5), 3, 0.0, 5),
        (Interval(0.0, -1.5, 1.5), 3, 1.2, None),
        (Interval(-2.0, -4.5, 0.5), 2, 0.0, 3),
    ],
)
def test_the_seeds_that_are_needed(gap: Interval, seeds: int, images_half: float, needed: int | None) -> None:
    assert seeds_needed(gap, seeds, images_half) == needed
