"""The scales at which a study runs. Presets differ in specs, never in code.

``paper``  COCO, ResNet-50-FPN, 8 workers of 2 images: the protocol of He et al. 2019.
``demo``   the embedded shapes, a tiny detector, one CPU core a trial: the paper's findings in minutes.
``smoke``  the demo, cut down until it ends within a minute or two; its numbers mean nothing.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from raystudy.errors import SpecError
from raystudy.spec.data import SHAPES_KEYPOINTS, DataSpec, InputSpec, ShapesSpec
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.model import BoxHeadSpec, MaskHeadSpec, ModelSpec, PixelSpec, RpnSpec
from raystudy.spec.pretraining import IMAGENET_IMAGES
from raystudy.spec.schedule import PAPER_UNIT, ScheduleSpec
from raystudy.spec.study import Axis, Level
from raystudy.spec.trial import OptimizerSpec, PretrainSpec, TrialSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """What an experiment script builds its study from."""

    name: str
    base: TrialSpec
    unit: int
    """Iterations of 1x."""

    schedules: tuple[float, ...]
    """The multiples k of the unit that a schedule study compares."""

    compared_at: float
    """The multiple at which a study compares other things than schedules."""

    seeds: tuple[int, ...]
    pretraining: PretrainSpec | None
    """How weights are made when no file is given; None needs a file."""

    def schedule(self, k: float) -> ScheduleSpec:
        """The *kx* schedule at this scale."""
        return _scaled_schedule(k, self.unit, self.base.schedule)

    def with_unit(self, unit: int) -> "Preset":
        """The preset with a 1x of ``unit`` iterations, which is evaluated and logged as often as before."""
        base, schedule = self.base, _scaled_schedule(1, unit, self.base.schedule)
        every = {name: max(1, getattr(base, name) * unit // self.unit) for name in ("eval_interval", "log_interval")}
        base = dataclasses.replace(base, schedule=schedule, **every)
        return dataclasses.replace(self, base=base, unit=unit)

    def with_schedules(self, multiples: tuple[float, ...]) -> "Preset":
        """The preset with other schedules; what it compares elsewhere is compared at the nearest of them that is no
        longer than before, so that no study loses what it trains at one schedule only."""
        no_longer = [k for k in multiples if k <= self.compared_at]
        return dataclasses.replace(self, schedules=multiples, compared_at=max(no_longer, default=min(multiples)))

    def schedule_axis(self, multiples: tuple[float, ...] = ()) -> Axis:
        """Schedules as an axis; the preset's own when none are named."""
        return schedule_axis(multiples or self.schedules, self.unit, self.base.schedule)

    def seed_axis(self, seeds: tuple[int, ...] = ()) -> Axis:
        """Seeds as an axis; the preset's own when none are named."""
        return seed_axis(seeds or self.seeds)


def schedule_axis(multiples: tuple[float, ...], unit: int, warmup: ScheduleSpec) -> Axis:
    """Schedules of so many units of ``unit`` iterations, all with the warm-up of one."""
    return Axis(
        name="schedule",
        levels=tuple(
            Level(name=f"{k:g}x", overrides={"schedule": _scaled_schedule(k, unit, warmup)}) for k in multiples
        ),
    )


def _scaled_schedule(k: float, unit: int, warmup: ScheduleSpec) -> ScheduleSpec:
    return ScheduleSpec.from_units(
        k, unit, warmup_iterations=warmup.warmup_iterations, warmup_factor=warmup.warmup_factor
    )


def seed_axis(seeds: tuple[int, ...]) -> Axis:
    """Seeds, which draw the initial weights, the order of pictures and every sample."""
    return Axis(name="seed", levels=tuple(Level(name=str(seed), overrides={"seed": seed}) for seed in seeds))


def init_axis(inits: tuple[str, ...] = ("random", "pretrained")) -> Axis:
    """Both inits of the question; weights for ``pretrained`` are filled in by the study."""
    return Axis(name="init", levels=tuple(Level(name=kind, overrides={"init.kind": kind}) for kind in inits))


def norm_axis(norms: tuple[str, ...]) -> Axis:
    """Normalization."""
    return Axis(name="norm", levels=tuple(Level(name=norm, overrides={"model.norm": norm}) for norm in norms))


def fraction_axis(fractions: tuple[float, ...]) -> Axis:
    """Share of the training images."""
    return Axis(
        name="fraction",
        levels=tuple(Level(name=f"{share * 100:g}%", overrides={"data.fraction": share}) for share in fractions),
    )


def load_preset(name: str, data: DataSpec | None = None) -> Preset:
    """The preset ``name`` on ``data``; on the embedded shapes when None (``paper`` needs data of its own).

    Raises:
        SpecError: there is no such preset.
    """
    if name not in PRESETS:
        raise SpecError(f"preset is {name!r}, but must be one of {', '.join(PRESETS)}")
    preset = PRESETS[name]()
    if data is None:
        return preset
    return dataclasses.replace(preset, base=dataclasses.replace(preset.base, data=data))


def shapes_data(shapes: ShapesSpec) -> DataSpec:
    """The embedded data set as the data of a trial."""
    return DataSpec(
        format="shapes",
        train_checksum=shapes.checksum("train"),
        val_checksum=shapes.checksum("val"),
        num_categories=6,
        num_keypoints=len(SHAPES_KEYPOINTS) if shapes.has_keypoints else 0,
        shapes=shapes,
        name="shapes",
    )


def tiny_model() -> ModelSpec:
    """The detector of demo and smoke: every part of the large one, sized for one CPU core and 128 px."""
    return ModelSpec(
        backbone="tiny",
        norm_groups=10_000,  # divides no width, so that every layer takes 8 channels a group
        norm_group_channels=8,
        fpn_channels=32,
        pixels=PixelSpec(mean=(127.5, 127.5, 127.5), std=(64.0, 64.0, 64.0)),
        rpn=RpnSpec(
            anchor_sizes=(16, 32, 64, 128),
            anchors_per_image=64,
            pre_nms_train=150,
            pre_nms_test=150,
            post_nms_train=60,
            post_nms_train_per="image",
            post_nms_test=60,
        ),
        box_head=BoxHeadSpec(num_convs=0, num_fcs=2, fc_channels=128, rois_per_image=32),
        mask_head=MaskHeadSpec(pool_size=8, num_convs=2, conv_channels=32),
    )


def _demo() -> Preset:
    unit = 405
    base = TrialSpec(
        schedule=ScheduleSpec.from_units(1, unit, warmup_iterations=60),
        model=tiny_model(),
        data=shapes_data(ShapesSpec()),
        input=InputSpec(
            train_short_sides=(128,), test_short_side=128, max_side=128, aspect_grouping=False, size_divisor=32
        ),
        optimizer=OptimizerSpec(base_lr=0.04, base_lr_images=4),
        evaluation=EvalSpec(batch_size=30),
        eval_interval=135,
        log_interval=45,
        workers=1,
        images_per_worker=4,
    )
    return Preset(
        name="demo",
        base=base,
        unit=unit,
        schedules=(1, 2, 4, 6),
        compared_at=4,
        seeds=(0, 1),
        pretraining=_textures(),
    )


def _smoke() -> Preset:
    demo = _demo()
    unit = 9
    base = dataclasses.replace(
        demo.base,
        schedule=ScheduleSpec.from_units(1, unit, warmup_iterations=2),
        data=shapes_data(ShapesSpec(num_train=64, num_val=6)),
        eval_interval=3,
        log_interval=3,
    )
    pretraining = dataclasses.replace(
        _textures(), iterations=10, warmup_iterations=3, num_pictures=320, num_held_out=64
    )
    return Preset(
        name="smoke", base=base, unit=unit, schedules=(1, 2), compared_at=1, seeds=(0,), pretraining=pretraining
    )


def _paper() -> Preset:
    base = TrialSpec(schedule=ScheduleSpec.from_units(1, PAPER_UNIT))
    return Preset(
        name="paper",
        base=base,
        unit=PAPER_UNIT,
        schedules=(2, 3, 4, 5, 6),
        compared_at=4,
        seeds=(0,),
        pretraining=_imagenet(),
    )


def _textures() -> PretrainSpec:
    """Six textures on crops of shapes: about a minute of one CPU core."""
    return PretrainSpec(optimizer="adamw", base_lr=0.002, weight_decay=0.02, num_pictures=12_000)


def _imagenet() -> PretrainSpec:
    """ImageNet for 100 epochs, as the GN weights of the paper were made: Wu and He 2018, "Group Normalization", 4.1.

    8 GPUs of 32 images, rate 0.1 (Goyal et al. 2017: 0.1 per 256 images), a tenth at 30, 60 and 90 epochs, decay 1e-4
    on every parameter, gammas that end a residual block from 0, no warm-up at this batch. Its crops and mirrors are
    there; the colour jitter of the implementation that it names (Gross and Wilber's fb.resnet.torch) is not.
    """
    images, batch = IMAGENET_IMAGES, 256
    return PretrainSpec(
        data="imagefolder",
        data_checksum="imagenet-1k",
        image_size=224,
        iterations=round(100 * images / batch),
        batch_size=batch,
        warmup_iterations=0,
        lr_drops=tuple(round(epochs * images / batch) for epochs in (30, 60, 90)),
        norm_weight_decay=1e-4,
        bias_weight_decay=1e-4,
        zero_last_gamma=True,
        workers=8,
    )


PRESETS: dict[str, Callable[[], Preset]] = {"smoke": _smoke, "demo": _demo, "paper": _paper}
"""Name -> what makes it, from the smallest."""
