"""The study's answer in one sentence, which never claims more than its numbers hold."""

import math

from analysis.convergence import RISING_PER_UNIT, ScheduleLine, slope_per_unit

LEVEL_AP = 1.0
"""Difference in AP below which two arms count as level: the default tolerance."""


def sentence(lines: list[ScheduleLine]) -> str:
    """The answer for one setting from its schedules, shortest first."""
    both = [line for line in lines if not math.isnan(line.delta)]
    if not both:
        return "No answer yet: no schedule is finished with both random and pre-trained init."
    longest = both[-1]
    return f"{_finding(both, longest)} ({_numbers(longest)}); {_limits(both)}."


def _finding(both: list[ScheduleLine], longest: ScheduleLine) -> str:
    level_from = None
    for line in reversed(both):
        if line.delta < -LEVEL_AP:
            break
        level_from = line
    if level_from is None:
        return f"Random init is {-longest.delta:.1f} AP behind pre-trained at {longest.schedule}, the longest here"
    if longest.delta > LEVEL_AP:
        return f"Random init ends {longest.delta:.1f} AP above pre-trained at {longest.schedule}"
    return f"Random init measured within {LEVEL_AP:g} AP of pre-trained from {level_from.schedule} on"


def _numbers(line: ScheduleLine) -> str:
    assert line.random is not None
    assert line.pretrained is not None
    return (
        f"box AP {line.random.mean:.1f} against {line.pretrained.mean:.1f} at {line.schedule}, "
        f"difference {line.delta:+.1f}"
    )


def _limits(both: list[ScheduleLine]) -> str:
    line = both[-1]
    assert line.random is not None
    assert line.pretrained is not None
    seeds = min(len(line.random.values), len(line.pretrained.values))
    limits = []
    if seeds == 1:
        limits.append("one seed, so this speaks of these weights and not of the method")
    else:
        limits.append(f"{seeds} seeds a cell, no confidence interval computed")
    rising = [init for init in ("random", "pretrained") if slope_per_unit(both, init) > RISING_PER_UNIT]
    names = {"random": "random init", "pretrained": "pre-trained"}
    if rising:
        limits.append(
            f"AP still rises with longer training ({' and '.join(names[i] for i in rising)}), "
            "so that the limit is not reached"
        )
    return "; ".join(limits)
