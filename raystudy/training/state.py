"""All that training changes: model, optimizer, iteration, exposure, rows."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from raystudy.errors import WeightsError
from raystudy.models.cascade import carry_over
from raystudy.models.detector import Detector, build_detector
from raystudy.models.initialization import initialize, load_backbone_weights
from raystudy.records import Exposure, Row
from raystudy.spec.trial import TrialSpec
from raystudy.training.optimizer import build_optimizer

STATE_FILE = "state.pt"
COMPILER = "inductor"
"""torch's own; tests take ``eager``, which captures the same graphs and generates no code."""


class Snapshot:
    """What a checkpoint holds of the state, on the CPU; can be written while training goes on."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._content = content

    def save(self, folder: Path) -> None:
        """Write it into ``folder``; rows are written beside it, readable without torch."""
        torch.save(self._content, folder / STATE_FILE)


@dataclass
class TrainState:
    """What a checkpoint carries, and a resumed or forked run goes on from."""

    model: Detector
    network: nn.Module
    """What is called for the losses: the model itself, or the model wrapped for data-parallel training."""

    optimizer: torch.optim.Optimizer
    iteration: int = 0
    """Iterations done."""

    exposure: Exposure = field(default_factory=Exposure)
    rows: list[Row] = field(default_factory=list)
    """Rows of the segment so far."""

    wall_time_s: float = 0.0
    """Seconds spent on the segment, earlier attempts included."""

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return next(self.model.parameters()).device

    def snapshot(self) -> "Snapshot":
        """A copy of everything but the rows, which training on does not change."""
        return Snapshot(
            {
                "model": _copied(self.model.state_dict()),
                "optimizer": _copied(self.optimizer.state_dict()),
                "iteration": self.iteration,
                "exposure": dataclasses.asdict(self.exposure),
                "wall_time_s": self.wall_time_s,
                "rng": torch.get_rng_state(),
            }
        )

    def load(self, folder: Path, rows: Sequence[Row] = (), *, wall_time: bool = True) -> None:
        """Go on from a snapshot.

        Args:
            folder: holds the state.
            rows: the segment's rows up to that state; none when a branch forks from its trunk.
            wall_time: False when the time was spent on another segment.
        """
        content: dict[str, Any] = torch.load(folder / STATE_FILE, map_location=self.device, weights_only=True)
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.iteration = int(content["iteration"])
        self.exposure = Exposure(**content["exposure"])
        self.rows = list(rows)
        self.wall_time_s = float(content["wall_time_s"]) if wall_time else 0.0
        torch.set_rng_state(content["rng"].cpu())

    def switch_model(self, spec: TrialSpec) -> None:
        """Go on with the model of ``spec``, which differs from the one so far in a cascade that is switched on.

        Weights are carried over (``models.cascade.carry_over``). A parameter that both models have keeps its momentum;
        one that is new, those of every stage of the box head, starts from zero momentum.
        """
        assert spec.model.cascade is not None
        momentum = _momentum_by_name(self.model, self.optimizer)
        carried = carry_over(self.model.state_dict(), spec.model.box_head, spec.model.cascade)
        model = build_detector(spec.model, self.model.num_categories, self.model.evaluation)
        model.load_state_dict(carried)
        self.model = self.network = compiled(model, spec).to(self.device).train(self.model.training)
        self.optimizer = build_optimizer(model, spec.optimizer)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                kept = momentum.get(name)
                buffer = torch.zeros_like(parameter) if kept is None else kept
                self.optimizer.state[parameter] = {"momentum_buffer": buffer}


def build_state(spec: TrialSpec, weights: Path | None, device: torch.device) -> TrainState:
    """The state at iteration 0: a function of the spec and, for ``pretrained``, of the weights file alone.

    Raises:
        WeightsError: the weights are missing or do not fit, with the keys that differ.
    """
    model = build_detector(spec.model, spec.data.num_categories, spec.evaluation)
    initialize(model, spec.seed)
    if weights is not None and spec.init.kind != "pretrained":
        raise ValueError(f"weights {weights} are given to a trial with init {spec.init.kind}")
    if spec.init.kind == "pretrained":
        if weights is None or not weights.is_file():
            raise WeightsError(f"the pre-trained weights {spec.init.weights_id} are not at {weights}")
        load_backbone_weights(model, weights)
    compiled(model, spec).to(device)
    return TrainState(model=model, network=model, optimizer=build_optimizer(model, spec.optimizer))


def compiled(model: Detector, spec: TrialSpec) -> Detector:
    """The same detector; where the spec says so, backbone and pyramid will be compiled when they are first called.

    They are most of what has fixed shapes. What follows depends on how many boxes there are, and stays as it is. Names
    of parameters do not change.
    """
    if spec.compiled:
        for part in (model.backbone, model.fpn):
            if part is not None:
                part.compile(backend=COMPILER)
    return model


def _momentum_by_name(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The momentum of every parameter that has one."""
    return {
        name: optimizer.state[parameter]["momentum_buffer"]
        for name, parameter in model.named_parameters()
        if parameter in optimizer.state and optimizer.state[parameter].get("momentum_buffer") is not None
    }


def _copied(value: Any) -> Any:
    """The same nest of containers with tensors copied to the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value
