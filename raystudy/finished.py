"""Trials that are done: found by id, with their spec, last checkpoint and final metrics. Loads no torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from raystudy.errors import CorruptCheckpointError, SpecError, StorageError
from raystudy.records import EvalRow, TrialRecord, TrialState
from raystudy.spec.trial import TrialSpec
from raystudy.store import Store

MOST_NAMED = 8
"""Trials that an error names."""


@dataclass(frozen=True, slots=True)
class FinishedTrial:
    """A complete trial of a storage."""

    store: Store
    record: TrialRecord
    spec: TrialSpec

    @property
    def trial_id(self) -> str:
        """Of the trial."""
        return self.record.trial_id

    def checkpoint(self) -> Path:
        """The folder of its final weights, checksums verified.

        Raises:
            StorageError: the checkpoint was deleted, or is corrupt.
        """
        for ref in reversed(self.record.segments):
            kept = self.store.segment(ref.segment_id)
            if ref.end == self.record.iteration and kept.has_checkpoint(ref.end):
                try:
                    return kept.load(ref.end)
                except CorruptCheckpointError as error:
                    raise StorageError(f"the weights of trial {self.trial_id} cannot be used: {error}") from error
        raise StorageError(
            f"trial {self.trial_id} is complete, but its checkpoint at iteration {self.record.iteration} was deleted; "
            "its rows are kept, its weights are not: train it anew in another storage to have them"
        )

    def final_row(self) -> EvalRow | None:
        """Its last evaluation."""
        rows = [row for row in self.store.trial_rows(self.record) if isinstance(row, EvalRow)]
        return rows[-1] if rows else None


def find_finished(store: Store, text: str) -> FinishedTrial:
    """The complete trial whose id is ``text``, or the only one whose id begins with it.

    Raises:
        SpecError: no trial is called so, several are, or it is not complete.
    """
    records = {record.trial_id: record for record in store.trials()}
    known = sorted({*records, *(trial for name in store.study_names() for trial in store.read_study(name)["trials"])})
    found = [text] if text in known else [trial for trial in known if trial.startswith(text)]
    if not found:
        raise SpecError(f"storage {store.location} has no trial {text!r}; it has {_named(known)}")
    if len(found) > 1:
        raise SpecError(f"{text!r} begins the ids of {len(found)} trials; add letters to tell apart {_named(found)}")
    record = records.get(found[0])
    if record is None or record.state != TrialState.COMPLETE:
        raise SpecError(_unfinished(found[0], record))
    return FinishedTrial(store, record, TrialSpec.from_dict(record.spec))


def _unfinished(trial_id: str, record: TrialRecord | None) -> str:
    if record is None:
        return f"trial {trial_id} has not begun; run its study first"
    total = record.spec["schedule"]["total"]
    stands = f"trial {trial_id} is {record.state.value} at iteration {record.iteration:,} of {total:,}"
    stands += f" ({record.error})" if record.error else ""
    return f"{stands}; only complete trials have final weights"


def _named(trials: Iterable[str]) -> str:
    listed = list(trials)
    more = f", and {len(listed) - MOST_NAMED} more" if len(listed) > MOST_NAMED else ""
    return (", ".join(listed[:MOST_NAMED]) or "none") + more
