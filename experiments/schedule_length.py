"""Figure 1 and Table 1: training longer from scratch against pre-training, over the length of the schedule.

He et al. 2019, Mask R-CNN with R50-FPN and GN on COCO, box AP: random init 36.8, 39.5, 40.6, 40.7, 41.3 and
pre-trained 40.3, 40.8, 40.9, 40.9, 41.1 at 2x, 3x, 4x, 5x, 6x.

    python experiments/schedule_length.py --preset demo
"""

from raystudy.cli import experiment
from raystudy.spec.presets import Preset, init_axis
from raystudy.spec.study import StudySpec


def study(preset: Preset) -> StudySpec:
    """Both inits at every schedule of the preset, over its seeds."""
    return StudySpec(
        name="schedule_length",
        question="Does training longer from random init reach what pre-training reaches?",
        base=preset.base,
        axes=(init_axis(), preset.schedule_axis(), preset.seed_axis()),
    )


if __name__ == "__main__":
    experiment(study)
