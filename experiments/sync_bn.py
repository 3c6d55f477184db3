"""Figure 4: is it group normalization that makes training from scratch work? Synchronised BN does it as well.

He et al. 2019, Mask R-CNN with R50-FPN and SyncBN on COCO, box AP at 6x: random init 39.3, pre-trained 39.0 (caption).
The curves of the figure end at 36.0, 37.9, 38.3, 39.0, 39.3 and 38.7, 38.7, 38.7, 39.0, 39.0 at 2x ... 6x.

    python experiments/sync_bn.py --preset demo
"""

from raystudy.cli import experiment
from raystudy.spec.presets import Preset, init_axis
from raystudy.spec.study import StudySpec
from raystudy.spec.trial import replaced


def study(preset: Preset) -> StudySpec:
    """Both inits at every schedule of the preset, with statistics over the images of all workers."""
    return StudySpec(
        name="sync_bn",
        question="Does training longer from random init reach pre-training with synchronised BN, too?",
        base=replaced(preset.base, **{"model.norm": "sync_bn"}),
        axes=(init_axis(), preset.schedule_axis(), preset.seed_axis()),
    )


if __name__ == "__main__":
    experiment(study)
