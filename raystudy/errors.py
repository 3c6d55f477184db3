"""What can go wrong, as one tree.

RaystudyError                 everything that we raise on purpose; printed without a traceback
├── SpecError                 a study, trial or option that cannot be: all problems at once
├── DataError                 annotations or pictures that cannot be used: all problems at once
├── WeightsError              a weights file that does not fit the model
├── StorageError              a storage that is not ours, or cannot be written
│   ├── CorruptCheckpointError    a checkpoint whose checksums do not hold
│   ├── FencedError               a newer attempt owns this segment; this one must stop
│   └── RowsError                 rows with a hole, a duplicate or a foreign schema version
├── ClusterError              the cluster can never run what is asked
├── PreemptedError            the machine is about to go; what was trained is committed, and goes on elsewhere
├── TrackingError             runs that could not be uploaded; nothing in storage is touched
└── TrainingError             a segment that cannot go on; not retried
    ├── DivergedError             a non-finite loss: a result, not a fault
    └── DeviceMemoryError         the accelerator's memory does not hold the batch
"""

from collections.abc import Iterable


class RaystudyError(Exception):
    """Base of all errors that are meant for the user."""


class _ProblemsError(RaystudyError):
    """An error that lists every problem found, so that a user mends them in one go."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__(self._text())

    def _text(self) -> str:
        if len(self.problems) == 1:
            return self.problems[0]
        lines = "\n".join(f"  {number}. {text}" for number, text in enumerate(self.problems, 1))
        return f"{len(self.problems)} problems:\n{lines}"

    def __reduce__(self) -> tuple[type, tuple[list[str]]]:
        return type(self), (self.problems,)


class SpecError(_ProblemsError):
    """A study, a trial or an option that cannot be."""


class DataError(_ProblemsError):
    """Annotations or pictures that cannot be used."""


class WeightsError(_ProblemsError):
    """Pre-trained weights that do not fit the model."""


class StorageError(RaystudyError):
    """A storage that is not ours, or that cannot be read or written."""


class CorruptCheckpointError(StorageError):
    """A checkpoint whose files are missing or do not match their checksums."""


class FencedError(StorageError):
    """A newer attempt owns this segment: what this one would commit is refused."""


class RowsError(StorageError):
    """Rows with a hole, a duplicate, or of another schema version."""


class ClusterError(RaystudyError):
    """The cluster can never run what is asked of it."""


class PreemptedError(RaystudyError):
    """The machine is about to be taken away. What was trained is committed; the segment goes on elsewhere."""


class TrackingError(RaystudyError):
    """Runs that could not be uploaded to where people look at them. Training never raises it."""


class TrainingError(RaystudyError):
    """A segment that cannot go on. It is not retried."""


class DivergedError(TrainingError):
    """The loss is not finite. A result of the study, not a fault."""


class DeviceMemoryError(TrainingError):
    """The device's memory does not hold the batch."""
