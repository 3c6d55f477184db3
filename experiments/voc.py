"""PASCAL VOC (section 5): random init breaks down where instances and categories are few.

He et al. 2019, Faster R-CNN with R101-FPN and GN, trained on trainval2007 + train2012, mAP on val2012: pre-trained 82.7
after 18k iterations, random init 77.6 after 144k, and longer does not help.

    python experiments/voc.py --preset demo --data path/to/VOCdevkit
"""

from raystudy.cli import experiment
from raystudy.spec.presets import Preset, init_axis
from raystudy.spec.study import StudySpec
from raystudy.spec.trial import replaced
from raystudy.spec.voc import voc_recipe, voc_schedules


def study(preset: Preset) -> StudySpec:
    """Both inits at every schedule, without masks, which VOC does not have."""
    return StudySpec(
        name="voc",
        question="Does random init reach pre-training on PASCAL VOC?",
        base=replaced(preset.base, **voc_recipe(preset)),
        axes=(init_axis(), voc_schedules(preset), preset.seed_axis()),
    )


if __name__ == "__main__":
    experiment(study)
