"""What people see of a study in a terminal: the plan, the table of trials; the live view is in ``live_view``."""

from collections.abc import Iterable, Sequence

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from raystudy.records import TrialRecord, TrialState
from raystudy.spec.makespan import makespan
from raystudy.spec.plan import Plan, Segment

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
