"""A study that is run as a process of its own, so that it can be killed.

python -m benchmarks.chaos_study STORAGE WORKERS
"""

import sys

from raystudy.api import run
from raystudy.cluster.settings import RunSettings
from raystudy.spec.presets import init_axis, load_preset
from raystudy.spec.study import Axis, Level, StudySpec, with_workers
from tests.tiny_trials import tiny_trial


def study(workers: int) -> StudySpec:
    """Pre-training, two trunks, six branches; with several workers one trunk and two branches."""
    levels = tuple(
        Level(name=f"{total}", overrides={"schedule": tiny_trial(total=total, before_end=6).schedule})
        for total in (12, 20, 32)
    )
    made = StudySpec(
        name="killed",
        base=tiny_trial(),
        axes=(init_axis(), Axis(name="schedule", levels=levels)),
        pretraining=load_preset("smoke").pretraining,
    )
    if workers > 1:  # they start slowly; three nodes are enough to be killed in the first and in a later one
        made = made.with_axis(init_axis(("random",))).with_axis(Axis(name="schedule", levels=levels[-2:]))
    return with_workers(made, workers)


if __name__ == "__main__":
    outcome = run(study(int(sys.argv[2])), RunSettings(storage=sys.argv[1], study="killed"))
    sys.exit(0 if outcome.is_complete else 1)
