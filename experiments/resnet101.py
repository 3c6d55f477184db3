"""Figure 3 and the lower half of Table 1: does the catching-up of random init hold for a deeper network?

He et al. 2019, Mask R-CNN with R101-FPN and GN on COCO, box AP at 2x, 3x, 4x, 5x, 6x: random init 38.2, 41.0, 41.8,
42.2, 42.7 and pre-trained 41.8, 42.3, 42.3, 41.9, 42.2.

    python experiments/resnet101.py --preset demo
"""

from raystudy.cli import experiment
from raystudy.spec.presets import Preset, init_axis
from raystudy.spec.study import StudySpec
from raystudy.spec.trial import replaced
from raystudy.spec.variants import backbone_of


def study(preset: Preset) -> StudySpec:
    """Both inits at every schedule of the preset, with the deeper backbone."""
    return StudySpec(
        name="resnet101",
        question="Does training longer from random init reach pre-training with a deeper network, too?",
        base=replaced(preset.base, **{"model.backbone": backbone_of(preset, "resnet101")}),
        axes=(init_axis(), preset.schedule_axis(), preset.seed_axis()),
    )


if __name__ == "__main__":
    experiment(study)
