"""The prefix tree of trials that share a trunk: where each change parts them, and the segments between the partings."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from raystudy.records import SegmentRef
from raystudy.spec.identity import digest, identity_dict
from raystudy.spec.model import CascadeSpec, ModelSpec
from raystudy.spec.segment import Change, Segment
from raystudy.spec.trial import TrialSpec

Path = tuple[SegmentRef, ...]
"""A trial's segments, end to end."""


def trunk_key(trial: TrialSpec) -> str:
    """What must be equal for two trials to share a prefix.

    It is everything but where and how their learning rate drops, where their cascade is switched on, and whether they
    are evaluated with augmentation at the end.
    """
    return digest(_trunk_identity(trial), length=16)


def trial_changes(trial: TrialSpec) -> tuple[Change, ...]:
    """Every change of the trial's effective learning rate after warm-up, and of its model."""
    drops = dict(zip(trial.schedule.milestones, trial.schedule.drops, strict=True))
    switch = trial.switch_iteration
    changes: list[Change] = []
    factor, cascade = 1.0, None
    for iteration in sorted({*drops, *([] if switch is None else [switch])}):
        if iteration in drops:
            factor *= drops[iteration].factor
        if iteration == switch:
            cascade = _from_the_start(trial.model).cascade
        changes.append(Change(iteration=iteration, factor=factor, cascade=cascade))
    return tuple(changes)


def without_augmented_evaluation(trial: TrialSpec) -> TrialSpec:
    """The trial whose weights ``trial`` evaluates: itself, unless it asks for test-time augmentation."""
    plain = trial.evaluation.plain
    return trial if trial.evaluation == plain else replace(trial, evaluation=plain)


class PrefixTree:
    """Segments and paths of trials with one ``trunk_key``, depth first, parents before children."""

    def __init__(self, trials: Sequence[TrialSpec], *, alone: bool = False) -> None:
        """Grow it.

        Args:
            trials: different ones, equal in ``trunk_key``.
            alone: for one trial that must share no segment with another tree's, whatever they have in common.
        """
        self.segments: list[Segment] = []
        self.paths: dict[str, Path] = {}
        plain = {one.trial_id: one for one in map(without_augmented_evaluation, trials)}
        has_several = any(one.switch_iteration is not None or one.trial_id not in plain for one in trials)
        self._owner = trials[0].trial_id if alone and has_several else ""
        self._grow(list(plain.values()), changes=(), start=0, ancestors=(), prefixes=dict.fromkeys(plain, ()))
        grown = self.paths
        self.paths = {one.trial_id: grown[without_augmented_evaluation(one).trial_id] for one in trials}
        for trial in trials:
            if trial.trial_id not in plain:
                self._add_evaluation(trial)

    def _grow(
        self,
        trials: Sequence[TrialSpec],
        *,
        changes: tuple[Change, ...],
        start: int,
        ancestors: tuple[str, ...],
        prefixes: dict[str, Path],
    ) -> None:
        """Add the segment in which ``trials``, equal in ``changes``, go on from ``start``, and what follows it."""
        if len(trials) == 1:
            self._add_rest(trials[0], start, ancestors, prefixes[trials[0].trial_id])
            return
        parted = _part(trials, changes)
        while len(parted) == 1:  # all take the next change together; a new model begins a new segment
            (together,) = parted
            if together is None or together.cascade != (changes[-1].cascade if changes else None):
                break
            changes = (*changes, together)
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
                self._grow(group, changes=(*changes, change), start=fork, ancestors=before, prefixes=paths)
                continue
            for trial in group:  # those that end without another change, each at its own total
                fork = forks[trial.trial_id]
                if trial.schedule.total == fork:
                    self.paths[trial.trial_id] = paths[trial.trial_id]
                else:
                    self._add_rest(trial, fork, beyond if fork > start else ancestors, paths[trial.trial_id])

    def _add_rest(self, trial: TrialSpec, start: int, ancestors: tuple[str, ...], prefix: Path) -> None:
        """What one trial does alone: one segment, or two when its cascade is switched on after ``start``."""
        total, switch, changes = trial.schedule.total, trial.switch_iteration, trial_changes(trial)
        if switch is not None and switch > start:
            before = tuple(change for change in changes if change.iteration < switch)
            trunk = self._add("trunk", [trial], before, start, switch, ancestors, (switch,), ())
            prefix = (*prefix, SegmentRef(segment_id=trunk, start=start, end=switch))
            start, ancestors = switch, (*ancestors, trunk)
        kind = "branch" if start else "trial"
        segment_id = self._add(kind, [trial], changes, start, total, ancestors, (), {trial.trial_id})
        self.paths[trial.trial_id] = (*prefix, SegmentRef(segment_id=segment_id, start=start, end=total))

    def _add_evaluation(self, trial: TrialSpec) -> None:
        total, path = trial.schedule.total, self.paths[trial.trial_id]
        ancestors = tuple(ref.segment_id for ref in path)
        segment_id = self._add(
            "evaluation", [trial], trial_changes(trial), total, total, ancestors, (), {trial.trial_id}
        )
        self.paths[trial.trial_id] = (*path, SegmentRef(segment_id=segment_id, start=total, end=total))

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
        suffix = {"trunk": "trunk", "trial": spec.schedule.name}.get(kind, f"{spec.schedule.name}-{kind}")
        identity = {**_trunk_identity(spec), "changes": [_identity(change) for change in changes], "start": start}
        if end % spec.eval_interval:  # its last row is off the grid, so that no longer segment can hold it
            identity["end"] = end
        if kind == "evaluation":
            identity["augmented"] = identity_dict(spec.evaluation)
        else:
            spec = without_augmented_evaluation(spec)
        if self._owner:
            identity["alone"] = self._owner
        segment_id = f"{spec.readable_prefix(suffix)}-{digest(identity)}"
        is_switched = any(change.cascade is not None for change in changes)
        segment = Segment(
            segment_id=segment_id,
            kind=kind,
            spec=replace(spec, model=_from_the_start(spec.model) if is_switched else _before_switch(spec.model)),
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


def _before_switch(model: ModelSpec) -> ModelSpec:
    """The model of iteration 0."""
    return replace(model, cascade=None) if model.cascade is not None and model.cascade.final_iterations else model


def _from_the_start(model: ModelSpec) -> ModelSpec:
    """The model of the last iteration, as one that never was another."""
    return replace(model, cascade=replace(model.cascade or CascadeSpec(), final_iterations=0))


def _trunk_identity(trial: TrialSpec) -> dict[str, Any]:
    trial = without_augmented_evaluation(trial)
    identity = identity_dict(replace(trial, model=_before_switch(trial.model)))
    schedule = identity.pop("schedule")
    identity["warmup"] = [schedule.get("warmup_iterations"), schedule.get("warmup_factor")]
    return identity


def _identity(change: Change) -> list[Any]:
    switched = [] if change.cascade is None else [identity_dict(change.cascade)]
    return [change.iteration, change.factor, *switched]


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
