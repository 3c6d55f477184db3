"""Figure 7, middle: 35k images with re-tuned hyper-parameters. Random init catches up.

He et al. 2019, Mask R-CNN with R50-FPN and GN, rate 0.04, one drop to 0.02 of it, shorter sides 512 to 800: box AP 36.3
from both inits. The ends of the curves at 2x to 6x, read from the figure: random 33.9, 35.7, 36.3, 36.5, 36.3 and
pre-trained 36.1, 36.1, 36.1, 36.3, 36.2.

    python experiments/less_data_35k.py --preset demo
"""

from raystudy.cli import experiment
from raystudy.spec.less_data import SIZES, retuned
from raystudy.spec.presets import Preset, init_axis
from raystudy.spec.study import StudySpec
from raystudy.spec.trial import replaced


def study(preset: Preset) -> StudySpec:
    """Both inits on 35k images, or 30% of smaller data, at every schedule."""
    size = SIZES[35_000]
    return StudySpec(
        name="less_data_35k",
        question="Does random init catch up on a third of the data?",
        base=replaced(preset.base, **retuned(preset)),
        axes=(init_axis(), size.axis(preset), size.schedule_axis(preset), preset.seed_axis()),
    )


if __name__ == "__main__":
    experiment(study)
