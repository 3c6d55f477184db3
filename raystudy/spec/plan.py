"""Trials become segments: what several trials have in common is trained once.

Trials whose specs differ in their schedule only take the same steps until their learning rates part. Read as a list
of changes, each trial is a path, and the trials of a study form a prefix tree:

    trunk   0 ──┬──────────────┬──────────────┬─ ...   constant rate (after warm-up)
                │              │              │
    branch      └─ drop, drop  └─ drop, drop  └─ drop, drop, end

A segment is an edge of that tree. Its identity is what it does and where it starts, never how far it goes, so that a
longer schedule extends the trunk which a shorter one has left. A fork lies on the evaluation grid at or before the
point where the trials part, because rows and checkpoints live there: shared and stand-alone rows are the same rows.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raystudy.records import SegmentRef
from raystudy.spec.identity import digest, from_dict, identity_dict, to_dict
from raystudy.spec.schedule import warmup_factor_at
from raystudy.spec.trial import PretrainSpec, TrialSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """From ``iteration`` (counted from 0) on, the base learning rate is multiplied with ``factor``."""

    iteration: int
    factor: float
    """Product of all drops so far, not of this one alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """What one Tune trial trains: iterations ``start`` to ``end`` of every trial that passes through it."""

    segment_id: str
    kind: str
    """``trunk``, ``branch``, or ``trial`` for a whole one that shares nothing."""

    spec: TrialSpec
    """Of one of its trials; of its schedule only the warm-up counts, the rest is ``changes``."""

    changes: tuple[Change, ...]
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

    def lr_at(self, iteration: int) -> float:
        """The learning rate at which ``iteration`` (from 0) is trained."""
        optimizer, schedule = self.spec.optimizer, self.spec.schedule
        factor = 1.0
        for change in self.changes:
            if iteration >= change.iteration:
                factor = change.factor
        scaled = optimizer.base_lr * self.spec.global_batch / optimizer.base_lr_images
        return scaled * warmup_factor_at(iteration, schedule.warmup_iterations, schedule.warmup_factor) * factor

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        plain: dict[str, Any] = to_dict(self)
        return plain

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Segment":
        """The inverse of ``to_dict``."""
        return from_dict(cls, data, "segment")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A study as a graph: pre-training, trunks, branches."""

    trials: dict[str, TrialSpec]
    paths: dict[str, tuple[SegmentRef, ...]]
    """Each trial's segments, end to end, with the iterations that are its own rows."""

    segments: tuple[Segment, ...]
    """Parents before children."""

    pretrainings: dict[str, PretrainSpec]
    """By weights_id; one a (backbone, norm, recipe)."""

    def most_checkpoints(self, slots: int) -> int:
        """Checkpoints that lie in the storage at one time, at most, when ``slots`` segments train side by side.

        A segment that has ended keeps its last; one that trains has two more, one of them being written; and a fork is
        kept until each of its branches has a checkpoint of its own.
        """
        return sum(1 + len(segment.forks) for segment in self.segments) + 2 * min(slots, len(self.segments))

    @property
    def naive_iterations(self) -> int:
        """Iterations if every trial trained alone."""
        return sum(trial.schedule.total for trial in self.trials.values())

    @property
    def shared_iterations(self) -> int:
        """Iterations that this plan trains."""
        return sum(segment.iterations for segment in self.segments)

    def segment(self, segment_id: str) -> Segment:
        """By id."""
        return next(segment for segment in self.segments if segment.segment_id == segment_id)

    def trials_through(self, segment_id: str) -> list[str]:
        """Trials that need the segment."""
        return [trial for trial, path in self.paths.items() if any(ref.segment_id == segment_id for ref in path)]

    def trials_ending_in(self, segment_id: str) -> list[str]:
        """Trials whose last segment it is."""
        return [trial for trial, path in self.paths.items() if path[-1].segment_id == segment_id]


def make_plan(trials: Iterable[TrialSpec], *, share: bool = True) -> Plan:
    """The plan of these trials; equal trials count once. A pure function: same trials, same plan.

    Args:
        trials: what the study asks for.
        share: False trains every trial whole, for comparison.
    """
    by_id = {trial.trial_id: trial for trial in trials}
    groups: dict[str, list[TrialSpec]] = {}
    for trial_id, trial in by_id.items():
        groups.setdefault(trunk_key(trial) if share else trial_id, []).append(trial)
    builder = _Builder()
    for group in groups.values():
        builder.grow(group, changes=(), start=0, ancestors=(), prefixes={trial.trial_id: () for trial in group})
    pretrainings = {
        trial.init.weights_id: trial.init.pretrain
        for trial in by_id.values()
        if trial.init.kind == "pretrained" and trial.init.pretrain is not None
    }
    return Plan(trials=by_id, paths=builder.paths, segments=tuple(builder.segments), pretrainings=pretrainings)


def stored_plan(study: Mapping[str, Any]) -> Plan:
    """The plan that a study in a storage was run with: shared or not, as its kept paths say."""
    trials = [TrialSpec.from_dict(content) for content in study["trials"].values()]
    plan = make_plan(trials)
    paths = {trial: [to_dict(ref) for ref in path] for trial, path in plan.paths.items()}
    return plan if paths == study["paths"] else make_plan(trials, share=False)


def trunk_key(trial: TrialSpec) -> str:
    """What must be equal for two trials to share a prefix: everything but where and how their learning rate drops."""
    return digest(_trunk_identity(trial), length=16)


def trial_changes(trial: TrialSpec) -> tuple[Change, ...]:
    """Every change of the trial's effective learning rate after warm-up."""
    changes, factor = [], 1.0
    for drop, milestone in zip(trial.schedule.drops, trial.schedule.milestones, strict=True):
        factor *= drop.factor
        changes.append(Change(iteration=milestone, factor=factor))
    return tuple(changes)


def _trunk_identity(trial: TrialSpec) -> dict[str, Any]:
    identity = identity_dict(trial)
    schedule = identity.pop("schedule")
    identity["warmup"] = [schedule.get("warmup_iterations"), schedule.get("warmup_factor")]
    return identity


class _Builder:
    """Grows the prefix tree of one study, depth first, parents before children."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.paths: dict[str, tuple[SegmentRef, ...]] = {}

    def grow(
        self,
        trials: Sequence[TrialSpec],
        *,
        changes: tuple[Change, ...],
        start: int,
        ancestors: tuple[str, ...],
        prefixes: dict[str, tuple[SegmentRef, ...]],
    ) -> None:
        """Add the segment in which ``trials``, equal in ``changes``, go on from ``start``, and what follows it."""
        if len(trials) == 1:
            self._add_leaf(trials[0], start, ancestors, prefixes[trials[0].trial_id])
            return
        parted = _part(trials, changes)
        while len(parted) == 1 and next(iter(parted)) is not None:  # all take the next change together
            changes = (*changes, next(change for change in parted if change is not None))
            parted = _part(trials, changes)
        forks = {trial.trial_id: _leaves_at(trial, changes, start) for trial in trials}
        end = max(forks.values())
        trunk: str | None = None
        beyond = ancestors
        ending = {trial.trial_id for trial in parted.get(None, []) if trial.schedule.total == forks[trial.trial_id]}
        if end > start:  # else they part before the next point of the grid, and nothing is shared
            trunk = self._add(
                "trunk", trials, changes, start, end, ancestors, tuple(sorted(set(forks.values()))), ending
            )
            beyond = (*ancestors, trunk)
        for change, group in parted.items():
            fork = forks[group[0].trial_id]
            paths = {trial.trial_id: prefixes[trial.trial_id] for trial in group}
            if trunk is not None:
                for trial in group:
                    ref = SegmentRef(segment_id=trunk, start=start, end=forks[trial.trial_id])
                    paths[trial.trial_id] += (ref,) if ref.end > start else ()
            if change is not None:
                before = beyond if fork > start else ancestors
                self.grow(group, changes=(*changes, change), start=fork, ancestors=before, prefixes=paths)
                continue
            for trial in group:  # those that end without another change, each at its own total
                fork = forks[trial.trial_id]
                if trial.schedule.total == fork:
                    self.paths[trial.trial_id] = paths[trial.trial_id]
                else:
                    self._add_leaf(trial, fork, beyond if fork > start else ancestors, paths[trial.trial_id])

    def _add_leaf(
        self, trial: TrialSpec, start: int, ancestors: tuple[str, ...], prefix: tuple[SegmentRef, ...]
    ) -> None:
        total, kind = trial.schedule.total, "branch" if start else "trial"
        segment_id = self._add(kind, [trial], trial_changes(trial), start, total, ancestors, (), {trial.trial_id})
        self.paths[trial.trial_id] = (*prefix, SegmentRef(segment_id=segment_id, start=start, end=total))

    def _add(
        self,
        kind: str,
        trials: Sequence[TrialSpec],
        changes: tuple[Change, ...],
        start: int,
        end: int,
        ancestors: tuple[str, ...],
        forks: tuple[int, ...],
        ending: Collection[str],
    ) -> str:
        spec = trials[0]
        suffix = {"trunk": "trunk", "branch": f"{spec.schedule.name}-branch", "trial": spec.schedule.name}[kind]
        identity = {**_trunk_identity(spec), "changes": [[c.iteration, c.factor] for c in changes], "start": start}
        if end % spec.eval_interval:  # its last row is off the grid, so that no longer segment can hold it
            identity["end"] = end
        segment_id = f"{spec.readable_prefix(suffix)}-{digest(identity)}"
        segment = Segment(
            segment_id=segment_id,
            kind=kind,
            spec=spec,
            changes=changes,
            start=start,
            end=end,
            ancestors=ancestors,
            forks=tuple(fork for fork in forks if fork > start),
            ends=tuple(sorted({trial.schedule.total for trial in trials if trial.trial_id in ending})),
            remaining=max(trial.schedule.total for trial in trials) - start,
        )
        self.segments.append(segment)
        return segment_id


def _part(trials: Sequence[TrialSpec], changes: tuple[Change, ...]) -> dict[Change | None, list[TrialSpec]]:
    """Trials by the next change that they take after ``changes``; None for those that end without one."""
    groups: dict[Change | None, list[TrialSpec]] = {}
    for trial in trials:
        rest = trial_changes(trial)[len(changes) :]
        groups.setdefault(rest[0] if rest else None, []).append(trial)
    return groups


def _leaves_at(trial: TrialSpec, changes: tuple[Change, ...], start: int) -> int:
    """The last point of the evaluation grid that the trial shares with those of equal ``changes``."""
    rest = trial_changes(trial)[len(changes) :]
    parts = rest[0].iteration if rest else trial.schedule.total
    return max(start, parts // trial.eval_interval * trial.eval_interval)
