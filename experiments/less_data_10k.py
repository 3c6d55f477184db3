"""Figure 7, right: 10k images. Random init still catches up, with more iterations.

He et al. 2019, Mask R-CNN with R50-FPN and GN: box AP 26.0 from pre-training after 60k iterations, 25.9 from random
init after 220k. The hyper-parameters were searched for pre-training and are not printed: those with 35k images stand
in. The ends of the curves at 60k to 220k, read from the figure: random 22.6, 24.9, 25.5, 25.7, 25.9 and pre-trained
26.0, 25.9, 25.8, 25.6, 25.3.

    python experiments/less_data_10k.py --preset demo
"""

from raystudy.cli import experiment
from raystudy.spec.less_data import SIZES, retuned
from raystudy.spec.presets import Preset, init_axis
from raystudy.spec.study import StudySpec
from raystudy.spec.trial import replaced


def study(preset: Preset) -> StudySpec:
    """Both inits on 10k images, or 10% of smaller data, at every schedule."""
    size = SIZES[10_000]
    return StudySpec(
        name="less_data_10k",
        question="Does random init catch up on a tenth of the data?",
        base=replaced(preset.base, **retuned(preset)),
        axes=(init_axis(), size.axis(preset), size.schedule_axis(preset), preset.seed_axis()),
    )


if __name__ == "__main__":
    experiment(study)
