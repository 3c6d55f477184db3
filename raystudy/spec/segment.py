"""A segment: what Tune runs, and what changes on the way from a trial's first iteration to the segment's end."""

from dataclasses import dataclass, replace
from typing import Any

from raystudy.spec.identity import from_dict, to_dict
from raystudy.spec.model import CascadeSpec, ModelSpec
from raystudy.spec.schedule import warmup_factor_at
from raystudy.spec.trial import TrialSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What is in effect from ``iteration`` (counted from 0) until the next change."""

    iteration: int
    factor: float
    """What the base learning rate is multiplied with: the product of all drops so far, not of this one alone."""

    cascade: CascadeSpec | None = None
    """The cascade that has been switched on by then; None while none has been, whatever the trial began with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """What one Tune trial trains: iterations ``start`` to ``end`` of every trial that passes through it."""

    segment_id: str
    kind: str
    """``trunk``, ``branch``, ``trial`` for a whole one that shares nothing, or ``evaluation``, which trains nothing."""

    spec: TrialSpec
    """Of one of its trials, with the model and the evaluation that are in effect here.

    Of its schedule only the warm-up counts, the rest is ``changes``.
    """

    changes: tuple[Change, ...]
    """All since iteration 0, those before ``start`` included."""

    start: int
    end: int
    ancestors: tuple[str, ...] = ()
    """The segments before this one, first to last; it forks from the last one's checkpoint at ``start``."""

    forks: tuple[int, ...] = ()
    """Iterations at which other segments fork from this one: their checkpoints are kept."""

    ends: tuple[int, ...] = ()
    """Iterations at which a trial ends: its final evaluation is kept in full."""

    remaining: int = 0
    """Iterations from ``start`` to the end of the longest trial that passes through: the priority."""

    @property
    def parent(self) -> str | None:
        """The segment that this one forks from; None starts from the init."""
        return self.ancestors[-1] if self.ancestors else None

    @property
    def iterations(self) -> int:
        """Iterations that it trains."""
        return self.end - self.start

    @property
    def is_evaluation(self) -> bool:
        """Whether it only looks anew at what its parent has trained."""
        return self.start == self.end

    @property
    def begins_with_switch(self) -> bool:
        """Whether its cascade is switched on at ``start``."""
        return self._switch == self.start and not self.is_evaluation

    def lr_at(self, iteration: int) -> float:
        """The learning rate at which ``iteration`` (from 0) is trained."""
        optimizer, schedule = self.spec.optimizer, self.spec.schedule
        factor = 1.0
        for change in self.changes:
            if iteration >= change.iteration:
                factor = change.factor
        scaled = optimizer.base_lr * self.spec.global_batch / optimizer.base_lr_images
        return scaled * warmup_factor_at(iteration, schedule.warmup_iterations, schedule.warmup_factor) * factor

    def model_at(self, iteration: int) -> ModelSpec:
        """The model that trains ``iteration`` (from 0, before ``end``)."""
        switch = self._switch
        return self.spec.model if switch is None or iteration >= switch else replace(self.spec.model, cascade=None)

    def pieces(self, iteration: int) -> "list[Segment]":
        """What is left to train after ``iteration`` iterations, in pieces of one model each.

        It is one, this segment's own rest, unless ``iteration`` lies before ``start`` because the fork's checkpoint was
        lost: then the gap comes first, cut at ``start`` and where the cascade is switched on.
        """
        cuts = sorted({cut for cut in (self._switch, self.start, self.end) if cut is not None and cut > iteration})
        found = []
        for cut in cuts:
            spec = replace(self.spec, model=self.model_at(iteration))
            found.append(replace(self, spec=spec, start=iteration, end=cut))
            iteration = cut
        return found

    @property
    def _switch(self) -> int | None:
        return next((change.iteration for change in self.changes if change.cascade is not None), None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        plain: dict[str, Any] = to_dict(self)
        return plain

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Segment":
        """The inverse of ``to_dict``."""
        return from_dict(cls, data, "segment")
