"""Beyond the paper: how much of a difference between two inits is the seed's?

He et al. 2019 print one run a cell (their Table 1 differs by 0.2 AP between inits at 6x) and no spread between seeds.

    python experiments/seeds.py --preset demo
"""

from raystudy.cli import experiment
from raystudy.spec.presets import Preset, init_axis
from raystudy.spec.study import StudySpec


def study(preset: Preset) -> StudySpec:
    """Both inits at the preset's shortest and longest schedule with five seeds (smoke: the shortest with two)."""
    is_smoke = preset.name == "smoke"
    schedules = preset.schedules[:1] if is_smoke else (preset.schedules[0], preset.schedules[-1])
    return StudySpec(
        name="seeds",
        question="How far apart are two trials that differ in their seed only, and is the gap between inits wider?",
        base=preset.base,
        axes=(init_axis(), preset.schedule_axis(schedules), preset.seed_axis(tuple(range(2 if is_smoke else 5)))),
    )


if __name__ == "__main__":
    experiment(study)
