"""Figures 7 and 8: less data. Where does random init break down, and how does over-fitting show?

He et al. 2019, Mask R-CNN with R50-FPN and GN, box AP on COCO val2017, pre-trained and random: 36.3 and 36.3 with 35k
images, 26.0 and 25.9 with 10k, 16.0 and 9.3 with 3.5k, 9.9 and 3.5 with 1k: it breaks down between 3.5k and 10k.

    python experiments/less_data.py --preset demo
"""

from raystudy.cli import experiment
from raystudy.spec.less_data import size_axis
from raystudy.spec.presets import Preset, fraction_axis, init_axis
from raystudy.spec.study import StudySpec


def study(preset: Preset) -> StudySpec:
    """Both inits on nested parts of the training images.

    At the paper's scale each size has the schedules and hyper-parameters of its figure; at a smaller one all shares
    train alike, at one schedule.
    """
    if preset.name == "paper":
        data = [size_axis(preset, 35_000, 10_000, 3_500, 1_000, with_whole=True)]
    else:
        shares = (1.0, 0.1, 0.01) if preset.name == "smoke" else (1.0, 0.3, 0.1, 0.03, 0.01)
        data = [fraction_axis(shares), preset.schedule_axis((preset.compared_at,))]
    return StudySpec(
        name="less_data",
        question="With how little data does training from random init break down?",
        base=preset.base,
        axes=(init_axis(), *data, preset.seed_axis()),
    )


if __name__ == "__main__":
    experiment(study)
