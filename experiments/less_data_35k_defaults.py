"""Figure 7, left: 35k images with the hyper-parameters of all of COCO. Fine-tuning over-fits.

He et al. 2019, Mask R-CNN with R50-FPN and GN, pre-trained, 270k iterations: box AP peaks at 30.6 after the first drop
and ends at 27.5 (both read from the figure). Random init is not shown there; it is trained here too.

    python experiments/less_data_35k_defaults.py --preset demo
"""

from raystudy.cli import experiment
from raystudy.spec.less_data import SIZES
from raystudy.spec.presets import Preset, init_axis
from raystudy.spec.study import StudySpec


def study(preset: Preset) -> StudySpec:
    """Both inits on 35k images at 3x, or on 30% of smaller data at the preset's longest schedule up to that."""
    longest = max((k for k in preset.schedules if k <= 3), default=preset.schedules[0])
    return StudySpec(
        name="less_data_35k_defaults",
        question="Do hyper-parameters for much data over-fit little data?",
        base=preset.base,
        axes=(init_axis(), SIZES[35_000].axis(preset), preset.schedule_axis((longest,)), preset.seed_axis()),
    )


if __name__ == "__main__":
    experiment(study)
