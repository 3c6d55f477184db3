"""What people see of a study in a terminal: the plan, the live view, the table of trials."""

import threading
import time
from collections.abc import Iterable, Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raystudy.records import TrialRecord, TrialState
from raystudy.spec.makespan import makespan
from raystudy.spec.plan import Plan, Segment
from raystudy.store import Store

_COLOURS = {
    TrialState.COMPLETE: "green",
    TrialState.RUNNING: "cyan",
    TrialState.WAITING: "dim",
    TrialState.DIVERGED: "yellow",
    TrialState.FAILED: "red",
}


def make_console(*, stderr: bool = False) -> Console:
    """Standard output; wide enough for a trial's name when it is no terminal. NO_COLOR is respected."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(width=160, stderr=stderr)


def text_table(rows: Sequence[Sequence[str]]) -> Table:
    """A table of text cells, header first."""
    table = Table(box=None, pad_edge=False)
    for number, heading in enumerate(rows[0]):
        table.add_column(heading, justify="left" if number < 2 else "right", overflow="fold")
    for row in rows[1:]:
        table.add_row(*row)
    return table


def plan_table(plan: Plan, slots: int, checkpoint_bytes: int) -> Group:
    """The plan in print: every segment with its fork, what it serves, and the iterations saved.

    Args:
        plan: of the study.
        slots: nodes that run side by side, for the makespan.
        checkpoint_bytes: of the largest detector, for the disk that the study may take.
    """
    table = Table(title="Plan", title_justify="left", box=None, pad_edge=False)
    for heading in ("segment", "kind", "iterations", "forks from", "trials"):
        table.add_column(heading, justify="right" if heading == "iterations" else "left", overflow="fold")
    for weights_id, recipe in plan.pretrainings.items():
        table.add_row(weights_id, "pretraining", f"{recipe.iterations:,}", "", "every pretrained trial")
    for segment in plan.segments:
        parent = f"{segment.parent} at {segment.start:,}{_news(segment)}" if segment.parent else ""
        through = plan.trials_through(segment.segment_id)
        serves = through[0] if len(through) == 1 else f"{len(through)} trials"
        table.add_row(segment.segment_id, segment.kind, f"{segment.iterations:,}", parent, serves)
    checkpoints, size = plan.most_checkpoints(slots), checkpoint_bytes
    side_by_side = "one at a time" if slots == 1 else f"{slots} side by side"
    lines = (
        *_trunk_lines(plan),
        plan_summary(plan),
        f"Makespan, {side_by_side}: as long as {makespan(plan, slots):,.0f} iterations"
        + (" (a pre-training iteration counted as one)" if plan.pretrainings else ""),
        f"Disk: at most {checkpoints} checkpoints of {size_text(size)}, {size_text(checkpoints * size)}",
    )
    return Group(table, Text("\n".join(lines)))


def _news(segment: Segment) -> str:
    """What is new at the fork, unless it is the learning rate alone."""
    if segment.is_evaluation:
        evaluation = segment.spec.evaluation
        scales = [f"{min(evaluation.scales)}-{max(evaluation.scales)} px"] if evaluation.scales else []
        words = [*scales, *(["mirrored"] if evaluation.flip else []), *(["vote"] if evaluation.merge == "vote" else [])]
        return f", evaluated with {', '.join(words)}"
    return ", cascade on" if segment.begins_with_switch else ""


def _trunk_lines(plan: Plan) -> list[str]:
    """What each trunk saves its own trials: the figure to compare with an arm of the paper's."""
    lines = []
    for trunk in plan.segments:
        through = plan.trials_through(trunk.segment_id)
        if trunk.kind != "trunk" or trunk.ancestors or len(through) == 1:
            continue
        family = [s for s in plan.segments if trunk.segment_id in (s.segment_id, *s.ancestors)]
        shared = sum(segment.iterations for segment in family)
        naive = sum(plan.trials[trial_id].schedule.total for trial_id in through)
        lines.append(f"{trunk.segment_id} and its branches: {shared:,} iterations instead of {naive:,}")
    return lines


def plan_summary(plan: Plan) -> str:
    """One line: trials, segments, iterations alone and shared."""
    naive, shared = plan.naive_iterations, plan.shared_iterations
    return (
        f"{len(plan.trials)} trials in {len(plan.segments)} segments: {shared:,} iterations instead of {naive:,} "
        f"({shared / naive:.0%}; shared trunks save {1 - shared / naive:.0%})"
    )


_AP_HEADINGS = {"box_ap": "box AP", "mask_ap": "mask AP", "keypoint_ap": "keypoint AP", "voc_ap": "VOC AP"}


def trials_table(records: Iterable[TrialRecord]) -> Table:
    """One line a trial: state, iterations, AP of boxes and of what else is scored."""
    records = list(records)
    shown = [name for name in _AP_HEADINGS if name == "box_ap" or any(name in r.metrics for r in records)]
    table = Table(box=None, pad_edge=False)
    headings = [("trial", "left"), ("state", "left"), ("iterations", "right")]
    for heading, justify in (*headings, *((_AP_HEADINGS[name], "right") for name in shown)):
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for record in records:
        state = Text(record.state.value, style=_COLOURS[record.state])
        aps = [f"{record.metrics[name]:.1f}" if name in record.metrics else "" for name in shown]
        total = record.spec["schedule"]["total"]
        table.add_row(record.trial_id, state, f"{record.iteration:,}/{total:,}", *aps)
    return table


class LiveView:
    """Shows segments while they train, read from the storage; plain lines without a terminal."""

    def __init__(self, store: Store, segments: Sequence[Segment], console: Console, refresh_s: float = 1.0) -> None:
        self._store, self._segments, self._console = store, segments, console
        self._refresh_s = refresh_s if console.is_terminal else 20.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._began = time.monotonic()
        self._before = self._done_iterations()
        self._last_line = ""

    def __enter__(self) -> "LiveView":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        if not self._console.is_terminal:
            while not self._stop.wait(self._refresh_s):
                self._print_line()
            return
        with Live(console=self._console, refresh_per_second=2, transient=True) as live:
            while not self._stop.wait(self._refresh_s):
                live.update(self._render())

    def _print_line(self) -> None:
        line = self._summary()
        if line != self._last_line:
            self._console.print(line, highlight=False, soft_wrap=True)
            self._last_line = line

    def _render(self) -> Group:
        table = Table(box=None, pad_edge=False)
        for heading in ("running", "", "iterations", "loss", "box AP"):
            table.add_column(heading)
        for segment, progress in self._running():
            iteration, end = int(progress["iteration"]), segment.end
            bar = ProgressBar(total=max(1, segment.iterations), completed=iteration - segment.start, width=24)
            ap = self._latest_ap(segment)
            table.add_row(segment.segment_id, bar, f"{iteration:,}/{end:,}", f"{progress['loss']:.2f}", ap)
        return Group(table, Text(self._summary()))

    def _running(self) -> list[tuple[Segment, dict[str, float]]]:
        found = []
        for segment in self._segments:
            kept = self._store.segment(segment.segment_id)
            progress = kept.progress()
            if progress is not None and kept.newest_attempt() and kept.result() is None:
                found.append((segment, progress))
        return found

    def _pretrainings(self) -> list[str]:
        """Pre-trainings that segments wait for, with how far they are."""
        found = []
        for weights_id in sorted({segment.spec.init.weights_id for segment in self._segments} - {""}):
            progress = self._store.pretraining_progress(weights_id)
            if progress is not None:
                found.append(f"{weights_id} {progress['iteration']:,}/{progress['end']:,}, loss {progress['loss']:.2f}")
        return found

    def _latest_ap(self, segment: Segment) -> str:
        rows = [row for row in self._store.segment(segment.segment_id).rows() if row.split == "val"]
        return f"{rows[-1].box_ap:.1f}" if rows else ""  # type: ignore[union-attr]

    def _done_iterations(self) -> int:
        done = 0
        for segment in self._segments:
            kept = self._store.segment(segment.segment_id)
            progress = kept.progress() or {}
            seen = max(kept.committed_iteration(), int(progress.get("iteration", 0)))
            done += max(0, min(seen, segment.end) - segment.start)
        return done

    def _summary(self) -> str:
        done = self._done_iterations()
        total = sum(segment.iterations for segment in self._segments)
        elapsed = time.monotonic() - self._began
        rate = (done - self._before) / elapsed if elapsed > 0 else 0.0
        eta = f", about {wall_time((total - done) / rate)} left" if rate > 0 and done < total else ""
        running = ", ".join([*self._pretrainings(), *(s.segment_id for s, _ in self._running())]) or "starting"
        return f"{done:,}/{total:,} iterations after {wall_time(elapsed)}{eta} ({running})"


def size_text(count: int) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def wall_time(seconds: float) -> str:
    """``3d04h``, ``2h05m`` or ``3m20s``."""
    if seconds >= 2 * 86400:
        days, hours = divmod(round(seconds / 3600), 24)
        return f"{days}d{hours:02d}h"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"
