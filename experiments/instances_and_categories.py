"""Section 5.2's explanation of PASCAL VOC: does random init break down for want of instances and categories?

He et al. 2019: random init catches up on 10k images of COCO, but not on the 15k of VOC, "likely" because those have 2.3
instances in an image instead of about 7, and 20 categories instead of 80. The paper does not test it. Here the number
of images stays and each of the other two changes alone, and both together.

    python experiments/instances_and_categories.py --preset demo
"""

from raystudy.cli import experiment
from raystudy.spec.less_data import as_few_as_voc, retuned
from raystudy.spec.presets import Preset, init_axis
from raystudy.spec.study import StudySpec
from raystudy.spec.trial import replaced


def study(preset: Preset) -> StudySpec:
    """Both inits on a tenth of the images, with all or few instances in each and all or few categories."""
    return StudySpec(
        name="instances_and_categories",
        question="Does random init break down where images have few instances, or data few categories?",
        base=replaced(preset.base, **retuned(preset)) if preset.name == "paper" else preset.base,
        axes=(init_axis(), *as_few_as_voc(preset), preset.seed_axis()),
    )


if __name__ == "__main__":
    experiment(study)
