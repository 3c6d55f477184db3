"""Who can be killed of a study that runs as a process of its own, and killing it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from raystudy.segment_store import SegmentStore
from raystudy.spec.plan import Plan, Segment
from raystudy.store import Store

ROOT = Path(__file__).resolve().parents[1]

KINDS = ("driver", "trunk", "branch", "worker", "controller")
"""The study's own process; who trains a trunk, a branch, anything; the controller of a group of workers."""


class Life:
    """A study at work: it lives until it ends by itself, whatever is killed of it meanwhile."""

    def __init__(self, storage: Path, plan: Plan, workers: int) -> None:
        self.storage, self.plan, self.workers = storage, plan, workers
        self.output = storage.parent / "output.txt"
        self.process = self._start()

    def committed(self) -> int:
        """Iterations that are kept, of all segments together."""
        return sum(max(0, kept.committed_iteration() - segment.start) for segment, kept in self._segments())

    def progress(self, segment_id: str) -> int:
        """Iterations that are kept of one segment."""
        return Store.open_unchecked(self.storage).segment(segment_id).committed_iteration()

    def candidates(self, kind: str) -> list[tuple[int, str]]:
        """Processes of that kind, with the segment that they train, if any."""
        if kind == "driver":
            return [(self.process.pid, "")]
        if kind == "controller":
            return [(child, "") for child in descendants(self.process.pid) if "TrainController" in _title(child)]
        return [found for segment, kept in self._segments() if _is(segment, kind) for found in _at_work(segment, kept)]

    def kill(self, process_id: int) -> bool:
        """SIGKILL; a study whose own process is killed is started again at once. False when it was gone already."""
        if process_id == self.process.pid:
            if self.process.poll() is not None:
                return False
            self.process.kill()
            self.start_again()
            return True
        with suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)
            return True
        return False

    def start_again(self) -> None:
        """When its own process has ended, or is about to."""
        self.process.wait()
        self.process = self._start()

    def end(self) -> None:
        """End its own process, if it lives, and with it its Ray; nothing is started again."""
        self.process.kill()
        self.process.wait()

    def told(self) -> str:
        """The end of what it printed."""
        return self.output.read_text(errors="replace")[-4000:]

    def _segments(self) -> Iterator[tuple[Segment, SegmentStore]]:
        store = Store.open_unchecked(self.storage)
        return ((segment, store.segment(segment.segment_id)) for segment in self.plan.segments)

    def _start(self) -> "subprocess.Popen[bytes]":
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        environment.pop("RAY_ADDRESS", None)
        command = [sys.executable, "-m", "benchmarks.chaos_study", str(self.storage), str(self.workers)]
        with open(self.output, "ab") as output:
            return subprocess.Popen(command, env=environment, cwd=ROOT, stdout=output, stderr=output)


def descendants(process_id: int) -> list[int]:
    """Its children, theirs, and so on."""
    parents: dict[int, list[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(process.name))
    found: list[int] = []
    generation: Sequence[int] = [process_id]
    while generation:
        generation = [child for parent in generation for child in parents.get(parent, [])]
        found += generation
    return found


def _is(segment: Segment, kind: str) -> bool:
    return kind == "worker" or (segment.kind == "trunk") == (kind == "trunk")


def _at_work(segment: Segment, kept: SegmentStore) -> list[tuple[int, str]]:
    """The process that has registered for the segment last, until the segment has ended."""
    attempt = kept.newest_attempt()
    if not attempt or kept.result() is not None:
        return []
    with suppress(ValueError, OSError, KeyError):  # it may be writing its registration right now
        says = kept.files.read_json(f"{kept.folder}/attempts/{attempt}.json")
        if says and Path(f"/proc/{says['pid']}").exists():
            return [(int(says["pid"]), segment.segment_id)]
    return []


def _title(process_id: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{process_id}/cmdline").read_text().replace("\0", " ")
    return ""
