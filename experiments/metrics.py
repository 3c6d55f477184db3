"""Table 2: does random init lag behind in any metric, such as AP75, where localisation must be sharper?

He et al. 2019, Mask R-CNN with GN on COCO, the best of 2x to 6x by box AP. Box AP, AP50, AP75 and mask AP, AP50, AP75:
R50 random 41.3, 61.8, 45.6 and 36.6, 59.0, 38.9, pre-trained 41.1, 61.7, 44.6 and 36.4, 58.5, 38.7;
R101 random 42.7, 62.9, 47.0 and 37.6, 59.9, 39.7, pre-trained 42.3, 62.6, 46.2 and 37.2, 59.7, 39.7.

The trials are those of Figures 1 and 3: in one storage they are trained once.

    python experiments/metrics.py --preset demo
"""

from raystudy.cli import experiment
from raystudy.spec.presets import Preset, init_axis
from raystudy.spec.study import StudySpec
from raystudy.spec.variants import backbone_axis


def study(preset: Preset) -> StudySpec:
    """Both inits and backbones at every schedule of the preset."""
    return StudySpec(
        name="metrics",
        question="Is random init as good as pre-training in every metric?",
        base=preset.base,
        axes=(
            init_axis(),
            backbone_axis(preset, ("resnet50", "resnet101")),
            preset.schedule_axis(),
            preset.seed_axis(),
        ),
    )


if __name__ == "__main__":
    experiment(study)
