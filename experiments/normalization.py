"""Behind sections 3 and 4: batch norm fails on the few images of a detector's worker; how few are too few, by init?

He et al. 2019 say so without a number and take GN or SyncBN for it, as Wu and He 2018 ("Group Normalization", Figure 1)
measured it on ImageNet: fewer images a worker, the rate in proportion, as many images in all. Here on detection.

    python experiments/normalization.py --preset demo
"""

from raystudy.cli import experiment
from raystudy.spec.presets import Preset, init_axis, norm_axis
from raystudy.spec.study import StudySpec
from raystudy.spec.variants import images_axis


def study(preset: Preset) -> StudySpec:
    """Norm x init x images per worker, all with as many images as the preset's 2x sees (smoke: 1x)."""
    # With one worker SyncBN is BN.
    norms = ("gn", "bn") if preset.base.workers == 1 else ("gn", "sync_bn", "bn")
    is_smoke = preset.name == "smoke"
    return StudySpec(
        name="normalization",
        question="How many images must a worker have for batch norm, and does pre-training change that?",
        base=preset.base,
        axes=(
            init_axis(),
            norm_axis(norms),
            images_axis(preset, (4, 2) if is_smoke else (4, 2, 1), k=1 if is_smoke else 2),
            preset.seed_axis(),
        ),
    )


if __name__ == "__main__":
    experiment(study)
