"""Figure 5, "cascade": do models from random init profit as much from a cascade that is switched on late?

He et al. 2019, Mask R-CNN with GN and train aug on COCO, box and mask AP, random and pre-trained. Without cascade:
R50 43.3 / 43.4 and 38.5 / 38.2, R101 45.0 / 44.5 and 39.5 / 39.3. With it: R50 45.9 / 46.0 and 39.4 / 39.1, R101
47.4 / 47.1 and 40.5 / 40.0. Random init trains without cascade and switches to it for the final 270k iterations; what
pre-trained models do is not printed. Here both do the same, so that they differ in their init only.

    python experiments/cascade.py --preset demo
"""

from raystudy.cli import experiment
from raystudy.spec.presets import Preset, init_axis
from raystudy.spec.study import Axis, Level, StudySpec
from raystudy.spec.trial import replaced
from raystudy.spec.variants import enhanced_axis, enhanced_backbones, final_cascade, other_lengths, train_scales


def study(preset: Preset) -> StudySpec:
    """Both inits and backbones with scale augmentation, random at 9x and pre-trained at 6x, with and without cascade.

    Smaller presets take their two longest schedules and one backbone. Both levels of the cascade share a trunk.
    """
    cascade = (
        Level(name="none", overrides={}),
        Level(name="switched on", overrides={"model.cascade": final_cascade(preset)}),
    )
    return StudySpec(
        name="cascade",
        question="Does random init reach pre-training when both end with a cascade?",
        base=replaced(preset.base, **{"input.train_short_sides": train_scales(preset)}),
        axes=(
            init_axis(),
            enhanced_backbones(preset),
            Axis(name="cascade", levels=cascade),
            enhanced_axis(preset),
            preset.seed_axis(),
        ),
        excluded=other_lengths(preset),
    )


if __name__ == "__main__":
    experiment(study)
