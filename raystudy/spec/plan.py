"""Trials become segments: what several trials have in common is trained once.

Trials whose specs differ in their schedule only take the same steps until their learning rates part. Read as a list
of changes, each trial is a path, and the trials of a study form a prefix tree:

    trunk   0 ──┬──────────────┬──────────────┬─ ...   constant rate (after warm-up)
                │              │              │
    branch      └─ drop, drop  └─ drop, drop  └─ drop, drop, end

A segment is an edge of that tree. Its identity is what it does and where it starts, never how far it goes, so that a
longer schedule extends the trunk which a shorter one has left. A fork lies on the evaluation grid at or before the
point where the trials part, because rows and checkpoints live there: shared and stand-alone rows are the same rows.

Besides the rate, two things part trials. A *cascade that is switched on* (``CascadeSpec.final_iterations``) is a change
like a drop, but of the model: it lies on the evaluation grid, and a segment ends there, also in a trial alone, so that
every segment has one model. *Test-time augmentation* parts no training at all: evaluations on the way are plain ones,
and a trial that asks for augmentation is the plain trial's path with a segment of zero iterations at its end, an
``evaluation``. It looks once at its parent's last weights and holds one row, which takes the place of the plain
evaluation at that iteration.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from raystudy.records import SegmentRef
from raystudy.spec.identity import to_dict
from raystudy.spec.prefix_tree import PrefixTree, trunk_key
from raystudy.spec.segment import Change, Segment
from raystudy.spec.trial import PretrainSpec, TrialSpec

__all__ = ["Change", "Plan", "Segment", "make_plan", "stored_plan"]


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
        kept until each of its branches has a checkpoint of its own. An evaluation makes none.
        """
        training = [segment for segment in self.segments if not segment.is_evaluation]
        return sum(1 + len(segment.forks) for segment in training) + 2 * min(slots, len(training))

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
        share: False trains every trial by itself, for comparison.
    """
    by_id = {trial.trial_id: trial for trial in trials}
    groups: dict[str, list[TrialSpec]] = {}
    for trial_id, trial in by_id.items():
        groups.setdefault(trunk_key(trial) if share else trial_id, []).append(trial)
    trees = [PrefixTree(group, alone=not share) for group in groups.values()]
    pretrainings = {
        trial.init.weights_id: trial.init.pretrain
        for trial in by_id.values()
        if trial.init.kind == "pretrained" and trial.init.pretrain is not None
    }
    return Plan(
        trials=by_id,
        paths={trial_id: path for tree in trees for trial_id, path in tree.paths.items()},
        segments=tuple(segment for tree in trees for segment in tree.segments),
        pretrainings=pretrainings,
    )


def stored_plan(study: Mapping[str, Any]) -> Plan:
    """The plan that a study in a storage was run with: shared or not, as its kept paths say."""
    trials = [TrialSpec.from_dict(content) for content in study["trials"].values()]
    plan = make_plan(trials)
    paths = {trial: [to_dict(ref) for ref in path] for trial, path in plan.paths.items()}
    return plan if paths == study["paths"] else make_plan(trials, share=False)
