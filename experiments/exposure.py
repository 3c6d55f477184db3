"""Figure 2: how many images, instances and pixels pre-training with fine-tuning sees, and training from random init.

He et al. 2019: ImageNet for 100 epochs and COCO at 2x see 131.0M images, 149.1M instances and 9.5T pixels; random init
at 6x sees 8.6M, 62.8M and 9.2T. The plan prints them; nothing need be trained for it, and no data be at hand:

    python experiments/exposure.py --preset paper --plan
"""

from raystudy.cli import experiment
from raystudy.spec.presets import Preset, init_axis
from raystudy.spec.study import StudySpec


def study(preset: Preset) -> StudySpec:
    """The trials of ``schedule_length.py``, of which each row tells what had been seen when it was measured."""
    return StudySpec(
        name="exposure",
        question="How much has each arm seen when random init has caught up?",
        base=preset.base,
        axes=(init_axis(), preset.schedule_axis(), preset.seed_axis()),
    )


if __name__ == "__main__":
    experiment(study)
