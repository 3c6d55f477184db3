"""What is seen of a study while it trains: a tree on a terminal, a few lines in a log or a notebook."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from raystudy.console import wall_time
from raystudy.live_tree import Seen, events, totals, tree_lines
from raystudy.records import TrialState
from raystudy.spec.plan import Segment
from raystudy.store import Store

REFRESH_S = 1.0
"""Between two looks on a terminal; at least ``LOOKING`` times as long as a look takes, which is slow far away."""

LOOKING = 10
LOG_REFRESH_S = 10.0
"""Between two looks where nobody can see a tree."""

FIRST_SUMMARY_S, LAST_SUMMARY_S = 20.0, 600.0
"""Between two summaries of a log: each gap is twice the one before, up to the last, so that long logs stay short."""


class LiveView:
    """Shows segments while they train, read from the storage."""

    def __init__(
        self,
        store: Store,
        segments: Sequence[Segment],
        console: Console,
        *,
        price_per_hour: float | None = None,
        dashboard: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Look at ``segments`` of ``store`` from the ``with`` on.

        Args:
            store: where they are kept.
            segments: those that are to be trained, parents before children.
            console: where to show them.
            price_per_hour: of one device, for the cost so far.
            dashboard: the address of Ray's dashboard, once there is one.
        """
        self._store, self._segments, self._console = store, segments, console
        self._price, self._dashboard = price_per_hour, dashboard
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._began = self._looked = time.monotonic()
        self._device_s = 0.0
        self._ended: dict[str, Seen] = {}
        self._left = {segment.segment_id: self._traces(segment) for segment in segments}
        self._seen: dict[str, Seen] = {}
        self._seen = self._look()
        self._before = totals(segments, self._seen)[0]
        self._told_dashboard = False

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
            self._write_log()
            return
        with Live(console=self._console, refresh_per_second=2, transient=True) as live:
            pause = REFRESH_S
            while not self._stop.wait(pause):
                began = time.monotonic()
                self._update()
                live.update(self._tree())
                pause = max(REFRESH_S, LOOKING * (time.monotonic() - began))

    def _write_log(self) -> None:
        """Who began and ended, and now and then how far all of it is."""
        due = summary_gap = FIRST_SUMMARY_S
        last = ""
        while not self._stop.wait(LOG_REFRESH_S):
            before = self._update()
            for line in events(self._segments, before, self._seen):
                self._print(line)
            if time.monotonic() - self._began >= due:
                summary = self._summary()
                if summary != last:
                    self._print(summary)
                last, summary_gap = summary, min(2 * summary_gap, LAST_SUMMARY_S)
                due = time.monotonic() - self._began + summary_gap
        for line in events(self._segments, self._update(), self._seen):  # what ended while nobody looked
            self._print(line)

    def _update(self) -> Mapping[str, Seen]:
        """Look again; what was seen before."""
        now, before = time.monotonic(), self._seen
        workers = sum(s.spec.workers for s in self._segments if before[s.segment_id].state == "running")
        self._device_s += (now - self._looked) * workers
        self._looked, self._seen = now, self._look()
        if not self._told_dashboard and (address := self._dashboard()):
            self._print(f"Ray's dashboard: {address}")
            self._told_dashboard = True
        return before

    def _look(self) -> dict[str, Seen]:
        found = {}
        for segment in self._segments:
            known = self._ended.get(segment.segment_id) or self._look_at(segment)
            found[segment.segment_id] = known
            if known.state == "done":  # and stays it
                self._ended[segment.segment_id] = known
        return found

    def _look_at(self, segment: Segment) -> Seen:
        kept = self._store.segment(segment.segment_id)
        result, progress = kept.result(), kept.progress()
        if result is not None and (kept.is_done(segment.end) or result["state"] != TrialState.COMPLETE):
            aps = [row.box_ap for row in kept.rows() if row.split == "val"]  # type: ignore[union-attr]
            state = "done" if result["state"] == TrialState.COMPLETE else "stopped"
            ap = aps[-1] if aps else None
            return Seen(state=state, iteration=int(result["iteration"]), box_ap=ap)  # type: ignore[arg-type]
        if progress is None or self._traces(segment) == self._left[segment.segment_id]:
            return Seen(state="waiting", iteration=max(segment.start, kept.committed_iteration()))
        before = self._seen.get(segment.segment_id)
        return Seen(
            state="running",
            iteration=int(progress["iteration"]),
            loss=progress.get("loss"),
            box_ap=progress.get("box_ap", before.box_ap if before else None),
        )

    def _traces(self, segment: Segment) -> tuple[int, Any]:
        """What whoever works on a segment changes; the same as at our begin is left from an earlier run."""
        kept = self._store.segment(segment.segment_id)
        return kept.newest_attempt(), (kept.progress() or {}).get("iteration")

    def _tree(self) -> Group:
        room = self._console.size
        unicode = (self._console.encoding or "").lower().startswith("utf")
        lines = tree_lines(self._segments, self._seen, most=max(2, room.height - 4), width=room.width, unicode=unicode)
        shown = [Text(line.text, style=line.style, no_wrap=True, overflow="crop") for line in lines]
        return Group(*shown, *map(Text, self._pretrainings()), Text(self._summary()))

    def _pretrainings(self) -> list[str]:
        """Pre-trainings that segments wait for, with how far they are."""
        found = []
        for weights_id in sorted({segment.spec.init.weights_id for segment in self._segments} - {""}):
            progress = self._store.pretraining_progress(weights_id)
            if progress is not None:
                found.append(f"{weights_id} {progress['iteration']:,}/{progress['end']:,}, loss {progress['loss']:.2f}")
        return found

    def _summary(self) -> str:
        """One line: iterations, time, what is left, what it has cost."""
        done, total = totals(self._segments, self._seen)
        elapsed = time.monotonic() - self._began
        rate = (done - self._before) / elapsed if elapsed > 0 else 0.0
        left = f", about {wall_time((total - done) / rate)} left" if rate > 0 and done < total else ""
        states = [one.state for one in self._seen.values()]
        pretrainings = [] if self._console.is_terminal else [f"; pre-training {line}" for line in self._pretrainings()]
        return (
            f"{done:,}/{total:,} iterations after {wall_time(elapsed)}{left}; {states.count('running')} running, "
            f"{states.count('done')} of {len(states)} done{self._cost()}{''.join(pretrainings)}"
        )

    def _cost(self) -> str:
        if self._price is None:
            return ""
        return f"; cost {self._device_s / 3600 * self._price:,.2f} so far"

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)
