"""The whole question on your own data: does pre-training pay, when does random init catch up, what with less data?

`raystudy inspect DATA` says what your data holds and what follows from it: pictures and anchors have the size that its
objects ask for, and in the demo 1x follows the number of its pictures (--unit says it outright; the plan tells how many
passes it makes). Weights for pretrained trials: --weights FILE (BN weights with --norm sync_bn); without them, presets
smoke and demo make their own, on textures: worth little on photos.

    python experiments/my_data.py --preset demo --data path/to/data
    python experiments/my_data.py --preset paper --data path/to/data --norm sync_bn --weights resnet50.pth
"""

from raystudy.cli import experiment
from raystudy.spec.presets import Preset, fraction_axis, init_axis
from raystudy.spec.study import StudySpec


def study(preset: Preset) -> StudySpec:
    """Both inits at every schedule; with a third and a tenth of the images at one of them."""
    return StudySpec(
        name="my_data",
        question="Does pre-training pay on this data, or does training longer from scratch get there too?",
        base=preset.base,
        axes=(init_axis(), fraction_axis((1.0, 0.3, 0.1)), preset.schedule_axis(), preset.seed_axis()),
        excluded=tuple(
            {"fraction": fraction, "schedule": f"{k:g}x"}
            for fraction in ("30%", "10%")
            for k in preset.schedules
            if k != preset.compared_at
        ),
    )


if __name__ == "__main__":
    experiment(study)
