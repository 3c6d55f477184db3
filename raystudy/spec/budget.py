"""A study that fits a budget: levels are dropped in an order that is said beforehand, or the study is refused."""

import dataclasses
from collections.abc import Callable, Sequence

from raystudy.errors import SpecError
from raystudy.spec.study import Axis, StudySpec


def fit_budget(
    study: StudySpec, budget_hours: float, cost: Callable[[StudySpec], float], drop: Sequence[str]
) -> tuple[StudySpec, list[str]]:
    """The largest study within the budget that dropping levels in this order leads to.

    Levels go from the last of the first axis named, one at a time; an axis keeps its first level, and the next axis
    follows. The question stays what it was: axes that are not named keep all levels.

    Args:
        study: what is asked.
        budget_hours: device-hours that it may take.
        cost: device-hours of a study.
        drop: names of axes, the first to shrink first.

    Returns:
        The study, and what was dropped, such as ``seed 1``.

    Raises:
        SpecError: an axis that the study does not have, or a study that does not fit even then, with the arithmetic.
    """
    axes = {axis.name: axis for axis in study.axes}
    strange = [name for name in drop if name not in axes]
    if strange:
        raise SpecError(f"--drop names {', '.join(strange)}, but the study varies {', '.join(axes) or 'nothing'}")
    hours, dropped = cost(study), list[str]()
    while hours > budget_hours:
        name = next((name for name in drop if len(axes[name].levels) > 1), None)
        if name is None:
            done = f" after dropping {', '.join(dropped)}" if dropped else ""
            rest = [axis.name for axis in axes.values() if len(axis.levels) > 1]
            raise SpecError(
                f"the study takes {hours:.3g} device-hours{done}, but the budget is {budget_hours:.3g}; raise the "
                "budget" + (f", or name more axes that may lose levels with --drop {','.join(rest)}" if rest else "")
            )
        axis = axes[name]
        dropped.append(f"{name} {axis.levels[-1].name}")
        axes[name] = Axis(name=name, levels=axis.levels[:-1])
        study = dataclasses.replace(study, axes=tuple(axes.values()))
        hours = cost(study)
    return study, dropped
