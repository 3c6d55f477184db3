"""Figure 6: keypoints, a task of fine places. Here random init catches up sooner than it does with boxes.

He et al. 2019, Mask R-CNN for keypoints with R50-FPN and GN on COCO's people, keypoint (OKS) AP: random init 65.6 and
pre-trained 65.5 with 2x (caption; the curves end at 65.3 and 65.5 with 2x, at 65.6 and 65.0 with 3x). On shapes the
keypoints are the outermost points of each object.

    python experiments/keypoints.py --preset demo --data path/to/coco
"""

from raystudy.cli import experiment
from raystudy.spec.presets import Preset, init_axis
from raystudy.spec.study import StudySpec
from raystudy.spec.variants import with_keypoints


def study(preset: Preset) -> StudySpec:
    """Both inits at the preset's two shortest schedules, 2x and 3x of the paper, with a keypoint head."""
    return StudySpec(
        name="keypoints",
        question="Does training from random init reach pre-training on keypoints, and sooner than on boxes?",
        base=with_keypoints(preset),
        axes=(init_axis(), preset.schedule_axis(preset.schedules[:2]), preset.seed_axis()),
    )


if __name__ == "__main__":
    experiment(study)
