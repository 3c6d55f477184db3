"""The crossover without the whole grid: bisection over schedules, forking only the branches that it needs.

Pre-trained trials run at every schedule, which costs little more than their longest one, and beside them random init at
the schedule in the middle. Random init then runs at the middle of what is still open, and at the next middle, until the
smallest schedule is known at which it is within delta of the best pre-trained AP. All of its branches leave one trunk,
which is extended when a longer one is asked for. This assumes that random init only gets better with the schedule; the
trials it ran say whether that held.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from raystudy.api import run
from raystudy.cluster.settings import RunSettings
from raystudy.errors import SpecError
from raystudy.spec.plan import make_plan
from raystudy.spec.study import StudySpec
from raystudy.store import Store


@dataclass(frozen=True, kw_only=True)
class Crossover:
    """What the search found."""

    schedule: str | None
    """The smallest schedule at which random init is within delta; None when it is at none."""

    delta: float
    best_pretrained: float
    """Mean box AP over seeds at pre-trained's best schedule."""

    random: dict[str, float]
    """Mean box AP over seeds of the random schedules that were run."""

    iterations: int
    """That the search's plan trained or found in the storage."""

    grid_iterations: int
    """Of the whole grid with shared trunks."""

    @property
    def sentence(self) -> str:
        """The answer, with what it rests on."""
        tried = ", ".join(f"{name} {ap:.1f}" for name, ap in self.random.items())
        if self.schedule is None:
            found = f"random init is not within {self.delta:g} AP of pre-trained's best at any schedule tried"
        else:
            found = f"random init is within {self.delta:g} AP of pre-trained's best from {self.schedule} on"
        return (
            f"{found} (pre-trained {self.best_pretrained:.1f}; random {tried}; point estimates of box AP, no interval; "
            f"{self.iterations:,} iterations instead of {self.grid_iterations:,} for the whole grid)"
        )


def find_crossover(study: StudySpec, settings: RunSettings, delta: float) -> Crossover:
    """Bisect a study with the axes ``init`` and ``schedule`` for the crossover.

    Raises:
        SpecError: the study lacks one of these axes or one of both inits.
    """
    axes = {axis.name: [level.name for level in axis.levels] for axis in study.axes}
    if not {"random", "pretrained"} <= set(axes.get("init", ())) or "schedule" not in axes:
        raise SpecError(f"a crossover search needs the axes init (random, pretrained) and schedule, but has {axes}")
    study.trials()
    schedules = sorted(axes["schedule"], key=lambda name: _cells(study, "random", name)[0][1])
    first = schedules[len(schedules) // 2]  # it is asked for in any case, and trains beside the pre-trained trials
    run(study, settings, wanted=[*_ids(study, "pretrained", schedules), *_ids(study, "random", [first])])
    best = max(_mean_ap(study, settings, "pretrained", name) for name in schedules)
    aps: dict[str, float] = {}
    low, high = 0, len(schedules)  # the answer lies in [low, high]; len(schedules) is "none"
    while low < high:
        middle = (low + high) // 2
        name = schedules[middle]
        if name != first:
            run(study, settings, wanted=_ids(study, "random", [name]))
        aps[name] = _mean_ap(study, settings, "random", name)
        low, high = (low, middle) if aps[name] >= best - delta else (middle + 1, high)
    return Crossover(
        schedule=schedules[low] if low < len(schedules) else None,
        delta=delta,
        best_pretrained=best,
        random={name: aps[name] for name in schedules if name in aps},
        iterations=_trained(study, [*_ids(study, "pretrained", schedules), *_ids(study, "random", list(aps))]),
        grid_iterations=make_plan(study.trials()).shared_iterations,
    )


def _cells(study: StudySpec, init: str, schedule: str) -> list[tuple[str, int]]:
    """(trial_id, total iterations) of the cells with these levels, over every other axis."""
    return [
        (trial.trial_id, trial.schedule.total)
        for levels, trial in study.cells()
        if levels["init"] == init and levels["schedule"] == schedule
    ]


def _ids(study: StudySpec, init: str, schedules: Sequence[str]) -> list[str]:
    return [trial_id for name in schedules for trial_id, _ in _cells(study, init, name)]


def _mean_ap(study: StudySpec, settings: RunSettings, init: str, schedule: str) -> float:
    store = Store.open(settings.storage)
    records = [store.read_trial(trial_id) for trial_id, _ in _cells(study, init, schedule)]
    aps = [record.metrics.get("box_ap", 0.0) if record is not None else 0.0 for record in records]
    return sum(aps) / len(aps)


def _trained(study: StudySpec, trial_ids: Sequence[str]) -> int:
    """Iterations of the segments, each as long as these trials need it."""
    needed: dict[str, tuple[int, int]] = {}
    paths = make_plan(study.trials()).paths
    for trial_id in trial_ids:
        for ref in paths[trial_id]:
            needed[ref.segment_id] = (ref.start, max(needed.get(ref.segment_id, (0, 0))[1], ref.end))
    return sum(end - start for start, end in needed.values())
