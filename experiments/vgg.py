"""VGG-16 (section 5.1, text): is it the norm or the depth that lets a detector train from scratch? Neither.

He et al. 2019, the original Faster R-CNN with VGG-16, no pyramid, no norm, training-time scale augmentation, box AP on
COCO: pre-trained at most 35.6 (9x), random init at most 35.2 (11x); longer is worse for both.

    python experiments/vgg.py --preset paper --data path/to/coco --weights vgg16.pth
"""

from dataclasses import replace

from raystudy.cli import experiment
from raystudy.spec.presets import Preset, init_axis
from raystudy.spec.study import StudySpec
from raystudy.spec.variants import original_faster_rcnn, train_scales


def study(preset: Preset) -> StudySpec:
    """Both inits at 9x and 11x; smaller presets at their two longest schedules."""
    schedules = (9.0, 11.0) if preset.name == "paper" else preset.schedules[-2:]
    base = replace(
        preset.base,
        model=original_faster_rcnn(preset),
        input=replace(preset.base.input, train_short_sides=train_scales(preset)),
    )
    return StudySpec(
        name="vgg",
        question="Does a network without norm and without residuals train from random init, too?",
        base=base,
        axes=(init_axis(), preset.schedule_axis(schedules), preset.seed_axis()),
    )


if __name__ == "__main__":
    experiment(study)
