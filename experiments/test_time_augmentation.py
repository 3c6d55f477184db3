"""Figure 5, all of it: does pre-training pay on top of enhanced baselines?

He et al. 2019, Mask R-CNN with GN on COCO, random / pre-trained:

                                box AP, R50   mask AP, R50  box AP, R101  mask AP, R101
    baseline                    41.3 / 41.1   36.6 / 36.4   42.7 / 42.3   37.6 / 37.2
    train aug                   43.3 / 43.4   38.5 / 38.2   45.0 / 44.5   39.5 / 39.3
    cascade + train aug         45.9 / 46.0   39.4 / 39.1   47.4 / 47.1   40.5 / 40.0
    cascade + train/test aug    48.6 / 48.3   41.6 / 40.9   49.8 / 49.5   42.5 / 41.9

The last row is the third one's weights, evaluated in another way. Its scales are Detectron's; the paper prints none.

    python experiments/test_time_augmentation.py --preset demo
"""

from typing import Any

from raystudy.cli import experiment
from raystudy.spec.presets import Preset, init_axis
from raystudy.spec.study import StudySpec
from raystudy.spec.variants import (
    augmented_evaluation,
    enhanced_axis,
    enhanced_backbones,
    enhanced_schedules,
    final_cascade,
    rows_axis,
    train_scales,
)


def study(preset: Preset) -> StudySpec:
    """Both inits and backbones in all four rows; the baseline at 6x, the others random at 9x and pre-trained at 6x.

    Smaller presets take their two longest schedules and one backbone. The trials are those of ``schedule_length``,
    ``resnet101``, ``scale_augmentation`` and ``cascade``, and a last evaluation.
    """
    short, long = enhanced_schedules(preset)
    train_aug: dict[str, Any] = {"input.train_short_sides": train_scales(preset)}
    cascade = train_aug | {"model.cascade": final_cascade(preset)}
    rows = {
        "baseline": {},
        "train aug": train_aug,
        "cascade + train aug": cascade,
        "cascade + train/test aug": cascade | augmented_evaluation(preset),
    }
    return StudySpec(
        name="test_time_augmentation",
        question="Does random init reach pre-training with augmentation in training and test, and a cascade?",
        base=preset.base,
        axes=(
            init_axis(),
            enhanced_backbones(preset),
            rows_axis(rows),
            enhanced_axis(preset),
            preset.seed_axis(),
        ),
        excluded=(
            {"row": "baseline", "schedule": f"{long:g}x"},
            {"init": "pretrained", "schedule": f"{long:g}x"},
            *({"init": "random", "row": name, "schedule": f"{short:g}x"} for name in rows if name != "baseline"),
        ),
    )


if __name__ == "__main__":
    experiment(study)
