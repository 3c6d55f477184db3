"""The study's answer in a sentence, which never claims more than the intervals hold.

Which claim is made, in this order (δ = 1 AP, gaps are random - pre-trained's best schedule):

    none     one of the inits has no finished trial, or neither has learned to detect
    ahead    random's best lies above pre-trained's best: the interval of the difference is above 0
    level    at some schedule the gap's interval lies above -δ: random has caught up
    behind   at the longest schedule the gap's interval lies below 0
    unsure   otherwise: more seeds are needed, and the sentence says what they cost

Without any interval (one seed, no stored matches) the same order is applied to the measured numbers, and said to be.
"""

import enum
import math
from dataclasses import dataclass

from scipy import stats

from analysis.convergence import ScheduleLine
from analysis.crossover import DEFAULT_TOLERANCE, images_alone
from analysis.evidence import SettingEvidence
from analysis.statistics import Interval

MIN_AP = 5.0
"""Best AP below which an arm has not learned to detect, so that "within 1 AP" would mean nothing."""

MAX_SEEDS = 10
"""More seeds than this are not proposed."""


class Claim(enum.StrEnum):
    """What the sentence says; see the module's docstring."""

    NONE = "none"
    AHEAD = "ahead"
    LEVEL = "level"
    BEHIND = "behind"
    UNSURE = "unsure"


@dataclass(frozen=True)
class Verdict:
    """The answer for one setting."""

    claim: Claim
    headline: str
    """The finding alone."""

    support: str
    """Its numbers and its limits."""

    @property
    def sentence(self) -> str:
        """Both, as one sentence."""
        return f"{self.headline}{self.support}."


def verdict(found: SettingEvidence, hours_per_seed: float = math.nan) -> Verdict:
    """The answer; ``hours_per_seed`` is the device-hours of one more seed of all the setting's trials."""
    if found.of_bests is None:
        return Verdict(
            Claim.NONE, "No answer yet", ": no trial of one of the two inits, random and pre-trained, is finished"
        )
    best = max(ap for ap in found.draws.observed.values()) if found.draws else 0.0
    if best < MIN_AP:
        text = f": the best AP so far is {best:.1f}, so neither init has learned to detect; train longer"
        return Verdict(Claim.NONE, "No answer", text)
    claim, line, gap = _claim(found)
    return Verdict(claim, _headline(claim, line, gap, found), _support(claim, line, gap, found, hours_per_seed))


def seeds_needed(
    gap: Interval, num_seeds: int, images_half: float = 0.0, tolerance: float = DEFAULT_TOLERANCE
) -> int | None:
    """The fewest seeds an init, at most ``MAX_SEEDS``, with which a gap of this size would be decided; None if none.

    Decided: the interval lies above -``tolerance`` or below 0. What the pictures alone leave (``images_half``) stays;
    the rest is taken to shrink as Student's interval does. For a single seed there is no spread to go by: 3.
    """
    if num_seeds < 2:
        return 3
    seeds_half = math.sqrt(max(0.0, ((gap.high - gap.low) / 2) ** 2 - images_half**2))
    for n in range(num_seeds + 1, MAX_SEEDS + 1):
        expected = math.hypot(images_half, seeds_half * _student(n) / _student(num_seeds))
        if gap.value - expected >= -tolerance or gap.value + expected < 0:
            return n
    return None


def _student(n: int) -> float:
    return float(stats.t.ppf(0.975, 2 * (n - 1)) / math.sqrt(n))


def _claim(found: SettingEvidence) -> tuple[Claim, ScheduleLine, Interval]:
    assert found.of_bests is not None
    randoms = [line for line in found.lines if line.random is not None]
    longest = randoms[-1]
    gap = found.to_best[longest.total]
    if found.of_bests.low > 0 if found.of_bests.is_known else found.of_bests.value > DEFAULT_TOLERANCE:
        best = max(randoms, key=lambda line: line.random.mean if line.random else -math.inf)
        return Claim.AHEAD, best, found.of_bests
    level = next((c.total for c in found.crossovers if c.tolerance == DEFAULT_TOLERANCE), None)
    if level is not None:
        line = next(line for line in randoms if line.total == level)
        return Claim.LEVEL, line, found.to_best[level]
    if gap.high < 0 if gap.is_known else gap.value < -DEFAULT_TOLERANCE:
        return Claim.BEHIND, longest, gap
    return Claim.UNSURE, longest, gap


def _headline(claim: Claim, line: ScheduleLine, gap: Interval, found: SettingEvidence) -> str:
    subject = "Random init" if gap.is_known else "As measured, random init"
    match claim:
        case Claim.AHEAD:
            return f"{subject} ends ahead of pre-trained: its best schedule is {line.schedule}"
        case Claim.LEVEL:
            later = [found.to_best[t] for t in found.to_best if t > line.total]
            holds = all(one.lower >= -DEFAULT_TOLERANCE for one in later)
            when = f"from {line.schedule} on" if holds and later else f"at {line.schedule}"
            return f"{subject} is within {DEFAULT_TOLERANCE:g} AP of pre-trained's best {when}"
        case Claim.BEHIND:
            return f"{subject} does not catch up within {line.schedule}, the longest schedule here"
        case _:
            return "Cannot tell yet whether random init catches up"


def _support(claim: Claim, line: ScheduleLine, gap: Interval, found: SettingEvidence, hours_per_seed: float) -> str:
    parts = []
    if claim is Claim.UNSURE:
        parts.append(_advice(gap, found, line.total, hours_per_seed))
    if not gap.is_known:
        parts.append(f"no confidence interval can be given: one seed, and {missing_pictures(found)}")
    elif found.num_seeds == 1:
        parts.append("one seed, so this speaks of these weights and not of the method")
    elif not found.metric.has_matches:
        parts.append("the interval is of seeds alone, validation pictures taken as given")
    speed = next((r for r in found.reach if 0.85 < r.ap / max(found.reach[-1].ap, 1e-9) < 0.95), None)
    if speed is not None and speed.ratio > 1.1:
        parts.append(f"to reach {speed.ap:.1f} AP random init needs {speed.ratio:.1f} times the iterations")
    if found.rising:
        names = {"random": "random init", "pretrained": "pre-trained"}
        who = "both still rise" if len(found.rising) == 2 else f"{names[found.rising[0]]} still rises"
        parts.append(f"{who} with longer training, so the limit is not reached")
    seeds = f", {found.num_seeds} seeds" if found.num_seeds > 1 else ""
    numbers = f" (Δ to pre-trained's best at {line.schedule}: {gap}{seeds})"
    return "; ".join([numbers, *parts])


def missing_pictures(found: SettingEvidence) -> str:
    """Why the pictures' chance is unknown."""
    if found.metric.has_matches:
        return "no per-picture matches stored"
    return f"{found.metric.name} has no per-picture matches, its rule of matching being another"


def _advice(gap: Interval, found: SettingEvidence, total: int, hours_per_seed: float) -> str:
    num_seeds = found.num_seeds
    images_half = images_alone(found.draws, total) if found.draws else 0.0
    needed = seeds_needed(gap, num_seeds, images_half)
    if needed is None and images_half > DEFAULT_TOLERANCE / 2:
        return f"the validation pictures alone leave ±{images_half:.1f} AP: score on more of them"
    if needed is None:
        return f"more than {MAX_SEEDS} seeds would be needed to settle it"
    cost = ""
    if not math.isnan(hours_per_seed):
        cost = f", about {duration(hours_per_seed * (needed - num_seeds))} more of one device"
    return f"run {needed} seeds{cost}"


def duration(hours: float) -> str:
    """Device-hours in words: 40 s, 12 min, 3.4 h, 56 h."""
    if hours < 1 / 60:
        return f"{3600 * hours:.0f} s"
    if hours < 1:
        return f"{60 * hours:.0f} min"
    return f"{hours:.1f} h" if hours < 10 else f"{hours:.0f} h"
