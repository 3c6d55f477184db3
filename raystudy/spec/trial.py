"""A trial: one training run of one detector, and nothing that does not decide its result."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from raystudy.errors import SpecError
from raystudy.spec.data import DataSpec, InputSpec
from raystudy.spec.evaluation import EvalSpec
from raystudy.spec.identity import digest, from_dict, identity_dict, located, to_dict
from raystudy.spec.model import BACKBONE_PREFIX, ModelSpec, PixelSpec
from raystudy.spec.schedule import ScheduleSpec, warmup_factor_at

INITS = ("random", "pretrained")
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainSpec:
    """ImageNet-style classification that makes the weights which a trial starts from."""

    backbone: str = "resnet50"
    norm: str = "gn"
    norm_groups: int = 32
    norm_group_channels: int = 8
    data: Literal["textures", "imagefolder"] = "textures"
    data_path: str = located("")
    data_checksum: str = ""
    """Identity of the pictures: of the generator's parameters, or of an ImageFolder's listing."""

    image_size: int = 48
    iterations: int = 800
    batch_size: int = 64
    """Pictures of an iteration, over all workers."""

    base_lr: float = 0.1
    """Of the whole batch, whatever its size."""

    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup_iterations: int = 40
    label_smoothing: float = 0.0
    seed: int = 0
    num_pictures: int = 6000
    """Crops that are rendered to train on when ``data`` is ``textures``."""

    num_held_out: int = 1000
    """Crops that are rendered to measure top-1 on."""

    pixels: PixelSpec = PixelSpec()
    """As the detector's, so that its first layer sees what it was trained on."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """ImageNet's recipe is SGD; a recipe of a few hundred iterations gets further with AdamW (Loshchilov, Hutter 2019).

    Weights under a norm are free of scale, so that SGD hardly turns them in so short a time.
    """

    lr_drops: tuple[int, ...] = ()
    """Iterations at which the rate falls to a tenth; empty lets it fall along half a cosine to 0."""

    norm_weight_decay: float = 0.0
    bias_weight_decay: float = 0.0
    zero_last_gamma: bool = False
    """Whether a residual block's last norm starts from 0, so that the block starts as the identity."""

    workers: int = 1
    """Workers that share a batch. It decides the statistics of ``bn``, and the order of sums."""

    precision: Literal["fp32", "bf16"] = "fp32"

    @property
    def weights_id(self) -> str:
        """Names the weights that this recipe makes."""
        prefix = BACKBONE_PREFIX.get(self.backbone, self.backbone)
        return f"{prefix}-{self.norm}-{self.data}-{digest(identity_dict(self))}"


@dataclass(frozen=True, kw_only=True, slots=True)
class InitSpec:
    """What the backbone starts from."""

    kind: Literal["random", "pretrained"] = "random"
    weights_id: str = ""
    """Of the pre-trained weights: their recipe's id, or their file's checksum. Empty for ``random``."""

    weights_file: str = located("")
    """Where a weights file lies, or ``torchvision:BACKBONE/NAME``; empty when the weights come from ``pretrain``."""

    weights_images: int | None = located(None)
    """Pictures that the weights of a file have seen, repeats included, where the user says so."""

    pretrain: PretrainSpec | None = located(None)
    """How the weights are made when no file is given; ``weights_id`` stands for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerSpec:
    """SGD with momentum. Defaults are Detectron's."""

    base_lr: float = 0.02
    """Per ``base_lr_images`` images of the global batch: the rate scales linearly with the batch."""

    base_lr_images: int = 16
    momentum: float = 0.9
    weight_decay: float = 1e-4
    norm_weight_decay: float = 0.0
    bias_weight_decay: float = 0.0
    bias_lr_factor: float = 2.0
    clip_gradient_norm: float = 0.0
    """Largest global norm of the gradient; 0 does not clip."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialSpec:
    """One point of a study: same spec, same result."""

    schedule: ScheduleSpec
    model: ModelSpec = ModelSpec()
    init: InitSpec = InitSpec()
    data: DataSpec = DataSpec()
    input: InputSpec = InputSpec()
    optimizer: OptimizerSpec = OptimizerSpec()
    evaluation: EvalSpec = EvalSpec()
    eval_interval: int = 5000
    """Iterations between two evaluations; each is also a checkpoint, and every fork lies on this grid."""

    log_interval: int = 500
    """Iterations between two training rows; divides ``eval_interval``."""

    seed: int = 0
    workers: int = 8
    images_per_worker: int = 2
    precision: Literal["fp32", "bf16"] = "fp32"
    compiled: bool = False
    """Whether ``torch.compile`` makes backbone and pyramid: for GPUs. It changes last bits, so that it is no setting of
    a run, and takes minutes before the first iteration."""

    @property
    def global_batch(self) -> int:
        """Images of one iteration, over all workers."""
        return self.workers * self.images_per_worker

    @property
    def trial_id(self) -> str:
        """Readable prefix and hash: a pure function of what decides the result."""
        return f"{self.readable_prefix(self.schedule.name)}-{digest(identity_dict(self))}"

    def readable_prefix(self, schedule: str) -> str:
        """``r50-gn-random-f100-6x-s0``: for people; the hash is what identifies."""
        backbone = BACKBONE_PREFIX.get(self.model.backbone, self.model.backbone)
        data = self.data.subset_label
        return f"{backbone}-{self.model.norm}-{self.init.kind}-{data}-{schedule}-s{self.seed}"

    @property
    def switch_iteration(self) -> int | None:
        """The first iteration (from 0) that is trained with the cascade; None when it never changes."""
        cascade = self.model.cascade
        return self.schedule.total - cascade.final_iterations if cascade and cascade.final_iterations else None

    def lr_at(self, iteration: int) -> float:
        """The learning rate at which ``iteration`` (from 0) is trained."""
        scaled = self.optimizer.base_lr * self.global_batch / self.optimizer.base_lr_images
        warmup = warmup_factor_at(iteration, self.schedule.warmup_iterations, self.schedule.warmup_factor)
        return scaled * warmup * self.schedule.factor_at(iteration)

    def to_dict(self) -> dict[str, Any]:
        """The whole spec, JSON-ready."""
        plain: dict[str, Any] = to_dict(self)
        return plain

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "TrialSpec":
        """The inverse of ``to_dict``; raises ``SpecError`` with all that does not fit."""
        return from_dict(cls, data, "trial")

    def problems(self) -> list[str]:
        """Everything that is wrong with this trial, each with what to do; empty when it can be trained."""
        found = [*self.schedule.problems(), *self.model.problems(), *self.data.problems()]
        found += [*self.input.problems(), *self.evaluation.problems()]
        for name in ("workers", "images_per_worker", "eval_interval", "log_interval"):
            if getattr(self, name) < 1:
                found.append(f"{name} is {getattr(self, name)}, but must be at least 1")
        if self.precision not in PRECISIONS:
            found.append(f"precision is {self.precision!r}, but must be one of {', '.join(PRECISIONS)}")
        if self.log_interval >= 1 and self.eval_interval % self.log_interval:
            found.append(
                f"log_interval {self.log_interval} does not divide eval_interval {self.eval_interval}; "
                "rows must fall on evaluations"
            )
        if self.optimizer.base_lr <= 0:
            found.append(f"base_lr is {self.optimizer.base_lr:g}, but must be above 0")
        return found + self._switch_problems() + self._init_problems()

    def _switch_problems(self) -> list[str]:
        switch, grid = self.switch_iteration, self.eval_interval
        if switch is None or grid < 1 or (switch > 0 and switch % grid == 0 and switch < self.schedule.total):
            return []
        total, final = self.schedule.total, self.schedule.total - switch
        options = range(total % grid or grid, total, grid)
        fits = [str(n) for n in (*[n for n in options if n < final][-1:], *[n for n in options if n > final][:1])]
        return [
            f"cascade.final_iterations is {final} of {total}: the cascade would be switched on at iteration {switch}, "
            f"but that must be an evaluation, one of which is every {grid}; take "
            + (" or ".join(fits) if fits else "0, which trains with it from the start")
        ]

    def _init_problems(self) -> list[str]:
        if self.init.kind not in INITS:
            return [f"init is {self.init.kind!r}, but must be one of {', '.join(INITS)}"]
        if self.init.kind == "pretrained" and not self.init.weights_id:
            return [
                f"pretrained {self.model.backbone} with norm {self.model.norm} has no weights: give a file with "
                f"--weights FILE, or make them with `raystudy pretrain --backbone {self.model.backbone} "
                f"--norm {self.model.norm}`"
                + ("; BN weights do not fit a GN network" if self.model.norm == "gn" else "")
            ]
        if self.init.kind == "random" and self.model.norm == "frozen_bn":
            return [
                "frozen_bn with random init would freeze statistics that nothing has estimated; "
                "choose gn, sync_bn or bn for random init"
            ]
        if self.init.kind == "random" and self.model.freeze_stages:
            return [f"freeze_stages {self.model.freeze_stages} would freeze random weights; set it to 0"]
        return []


def replaced(trial: TrialSpec, **overrides: Any) -> TrialSpec:
    """``trial`` with fields replaced by dotted path: ``replaced(trial, **{"model.norm": "bn"})``.

    Values may be plain (JSON) as well as typed. Raises ``SpecError`` for a field that does not exist.
    """
    for path, value in overrides.items():
        trial = _replace_path(trial, path.split("."), value, path)
    return trial


def _replace_path(spec: Any, path: list[str], value: Any, whole: str) -> Any:
    head, *rest = path
    names = [field.name for field in dataclasses.fields(spec)]
    if head not in names:
        raise SpecError(f"{whole} is no field of a trial; at {head!r} there are {', '.join(names)}")
    if rest:
        return dataclasses.replace(spec, **{head: _replace_path(getattr(spec, head), rest, value, whole)})
    if isinstance(value, dict | list):
        return from_dict(type(spec), {**to_dict(spec), head: value}, whole)
    return dataclasses.replace(spec, **{head: value})


PRETRAINING_NORM = {"gn": "gn", "sync_bn": "bn", "frozen_bn": "bn", "bn": "bn", "none": "none"}
"""The norm with which weights for a norm are pre-trained: BN weights load into all of its kin as they are."""


def recipe_for(model: ModelSpec, recipe: PretrainSpec) -> PretrainSpec:
    """The recipe that makes weights for the backbone of ``model``, with its norm and its pixels."""
    return dataclasses.replace(
        recipe,
        backbone=model.backbone,
        norm=PRETRAINING_NORM.get(model.norm, model.norm),
        norm_groups=model.norm_groups,
        norm_group_channels=model.norm_group_channels,
        pixels=model.pixels,
    )


def with_pretraining(trial: TrialSpec, recipe: PretrainSpec | None) -> TrialSpec:
    """A pretrained trial without weights gets those that ``recipe`` makes for its backbone and norm."""
    if trial.init.kind != "pretrained" or trial.init.weights_id or recipe is None:
        return trial
    recipe = recipe_for(trial.model, recipe)
    init = InitSpec(kind="pretrained", weights_id=recipe.weights_id, pretrain=recipe)
    return dataclasses.replace(trial, init=init)
