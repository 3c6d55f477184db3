"""A study of one trunk and two branches on the storage that is given, with a Ray of its own: killed by its test."""

import sys

from raystudy.api import run
from raystudy.cluster.settings import RunSettings
from raystudy.records import TrialState
from raystudy.spec.study import Axis, Level, StudySpec
from tests.tiny_trials import tiny_trial


def study() -> StudySpec:
    """Two schedules."""
    base = tiny_trial(total=6)
    levels = tuple(
        Level(name=str(total), overrides={"schedule": tiny_trial(total=total).schedule}) for total in (6, 10)
    )
    return StudySpec(name="shared", unit=6, base=base, axes=(Axis(name="schedule", levels=levels),))


if __name__ == "__main__":
    outcome = run(study(), RunSettings(storage=sys.argv[1], study="shared"))
    sys.exit(any(record.state != TrialState.COMPLETE for record in outcome.records.values()))
