"""Figure 5, "train aug": does random init profit more from it, and how much longer must it train for that?

He et al. 2019, Mask R-CNN with GN on COCO, box and mask AP, random and pre-trained. Without: R50 41.3 / 41.1 and
36.6 / 36.4, R101 42.7 / 42.3 and 37.6 / 37.2 (each the best of 2x to 6x). With shorter sides of 640 to 800, random init
at 9x and pre-trained at 6x: R50 43.3 / 43.4 and 38.5 / 38.2, R101 45.0 / 44.5 and 39.5 / 39.3.

    python experiments/scale_augmentation.py --preset demo
"""

from raystudy.cli import experiment
from raystudy.spec.presets import Preset, init_axis
from raystudy.spec.study import StudySpec
from raystudy.spec.variants import backbone_axis, enhanced_schedules, scale_axis


def study(preset: Preset) -> StudySpec:
    """Both inits and backbones, without augmentation at 6x; with it random init at 9x and pre-trained at 6x.

    Smaller presets take their two longest schedules, and smoke one backbone.
    """
    short, long = enhanced_schedules(preset)
    without, with_it = "none", "scales"
    return StudySpec(
        name="scale_augmentation",
        question="With scale augmentation in training, does random init reach pre-training by training longer?",
        base=preset.base,
        axes=(
            init_axis(),
            backbone_axis(preset, ("resnet50",) if preset.name == "smoke" else ("resnet50", "resnet101")),
            scale_axis(preset, without, with_it),
            preset.schedule_axis((short, long)),
            preset.seed_axis(),
        ),
        excluded=(
            {"augmentation": without, "schedule": f"{long:g}x"},
            {"init": "pretrained", "schedule": f"{long:g}x"},
            {"init": "random", "augmentation": with_it, "schedule": f"{short:g}x"},
        ),
    )


if __name__ == "__main__":
    experiment(study)
