"""Table 3: how far does random init go with a large network?

He et al. 2019, Mask R-CNN with GN and random init on COCO, AP, AP50 and AP75 of boxes, then of masks:

    R101, train aug     45.0  65.7  49.3    39.5  62.5  42.1
    X152, train aug     46.4  67.1  51.1    40.5  63.9  43.4
    + cascade           48.6  66.8  52.9    41.4  64.2  44.6
    + test aug          50.9  68.7  55.4    43.2  66.1  46.8

Pre-trained, the last row has 50.3 and 42.5. X152 is ResNeXt-152 8x32d; its schedule is not printed, so that the rows
here train as Figure 5's: random init at 9x with a cascade for the final 270k iterations, pre-trained at 6x.

    python experiments/resnext.py --preset demo
"""

from typing import Any

from raystudy.cli import experiment
from raystudy.spec.presets import Preset, init_axis
from raystudy.spec.study import StudySpec
from raystudy.spec.trial import replaced
from raystudy.spec.variants import (
    augmented_evaluation,
    backbone_of,
    enhanced_axis,
    final_cascade,
    other_lengths,
    rows_axis,
    train_scales,
)


def study(preset: Preset) -> StudySpec:
    """The table's rows from random init, and the last of them pre-trained."""
    large: dict[str, Any] = {"model.backbone": backbone_of(preset, "resnext152_8x32d")}
    cascade = large | {"model.cascade": final_cascade(preset)}
    rows = {
        "R101": {"model.backbone": backbone_of(preset, "resnet101")},
        "X152": large,
        "X152 + cascade": cascade,
        "X152 + cascade + test aug": cascade | augmented_evaluation(preset),
    }
    return StudySpec(
        name="resnext",
        question="Does random init reach pre-training with a network four times as large?",
        base=replaced(preset.base, **{"input.train_short_sides": train_scales(preset)}),
        axes=(
            init_axis(),
            rows_axis(rows),
            enhanced_axis(preset),
            preset.seed_axis(),
        ),
        excluded=(
            *other_lengths(preset),
            *({"init": "pretrained", "row": name} for name in list(rows)[:-1]),
        ),
    )


if __name__ == "__main__":
    experiment(study)
