"""A running study as text: its trunks and branches as trees, from what the storage says of each segment."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from raystudy.spec.plan import Segment

State = Literal["waiting", "running", "done", "stopped"]

BAR = 16
"""Characters of a bar."""

_STYLES: Mapping[State, str] = {"waiting": "dim", "running": "cyan", "done": "green", "stopped": "yellow"}


_BRANCHES = {
    (True, False): ("├─ ", "│  "),
    (True, True): ("└─ ", "   "),
    (False, False): ("|- ", "|  "),
    (False, True): ("`- ", "   "),
}
"""Unicode or not, the last of its trunk or not -> what stands before a branch, and before those below it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What is known of a segment now."""

    state: State
    iteration: int
    """The last that it has trained, counted from the trial's begin."""

    loss: float | None = None
    box_ap: float | None = None
    """Of its newest evaluation, percent."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the tree."""

    text: str
    style: str
    is_busy: bool
    """Whether it or a branch of it trains."""


def tree_lines(
    segments: Sequence[Segment], seen: Mapping[str, Seen], *, most: int, width: int, unicode: bool = True
) -> list[Line]:
    """The study's trees, those that train first to stay where there is no room for all.

    Args:
        segments: of the plan, parents before children.
        seen: what is known of each, by id.
        most: lines that there is room for, at least 2.
        width: characters of a line.
        unicode: False draws with ASCII.
    """
    known = {segment.segment_id for segment in segments}
    roots = [segment for segment in segments if segment.parent not in known]
    trees = [list(_tree(root, segments, seen, width, unicode)) for root in roots]
    if sum(map(len, trees)) <= most:
        return [line for tree in trees for line in tree]
    shown: list[Line] = []
    left_out: list[Segment] = []
    busy_first = sorted(zip(roots, trees, strict=True), key=lambda pair: not any(line.is_busy for line in pair[1]))
    for root, tree in busy_first:
        if len(shown) + len(tree) < most:
            shown += tree
        else:
            left_out.append(root)
    return [*shown, Line(_left_out(left_out, segments, seen), "dim", False)]


def totals(segments: Sequence[Segment], seen: Mapping[str, Seen]) -> tuple[int, int]:
    """Iterations that are done, and all of them; a shared trunk's count once."""
    done = sum(max(0, min(seen[s.segment_id].iteration, s.end) - s.start) for s in segments if s.segment_id in seen)
    return done, sum(segment.iterations for segment in segments)


def events(segments: Sequence[Segment], before: Mapping[str, Seen], now: Mapping[str, Seen]) -> list[str]:
    """A line for each segment that has begun or ended since ``before``: what a log is told."""
    lines = []
    for segment in segments:
        was, is_now = before.get(segment.segment_id), now.get(segment.segment_id)
        if is_now is None or is_now.state == "waiting" or (was is not None and was.state == is_now.state):
            continue
        ap = "" if is_now.box_ap is None else f", box AP {is_now.box_ap:.1f}"
        verb = {"running": "began", "done": "is done", "stopped": "stopped"}[is_now.state]
        where = f"at {segment.start:,}" if is_now.state == "running" else f"at {is_now.iteration:,}"
        lines.append(f"{segment.segment_id} {verb} {where} of {segment.end:,}{ap}")
    return lines


def bar(done: int, total: int, width: int = BAR, unicode: bool = True) -> str:
    """``━━━━╌╌╌╌``, or ``####....``: full only when all is done."""
    share = 1.0 if total <= 0 else max(0.0, min(1.0, done / total))
    filled = int(share * width)
    full, empty = ("━", "╌") if unicode else ("#", ".")
    return full * filled + empty * (width - filled)


def label(segment: Segment, siblings: Sequence[Segment]) -> str:
    """What a branch is called below its trunk: what is new in its id, and its digest where that is not enough."""
    if segment.parent is None:
        return segment.segment_id
    mine, siblings_words = _news(segment), [_news(sibling) for sibling in siblings]
    if siblings_words.count(mine) > 1 or not mine:
        mine = [*mine, segment.segment_id.rsplit("-", 1)[-1]]
    return " ".join(mine)


def _news(segment: Segment) -> list[str]:
    parent = (segment.parent or "").split("-")[:-1]
    return [word for word in segment.segment_id.split("-")[:-1] if word not in parent]


def _tree(
    segment: Segment,
    segments: Sequence[Segment],
    seen: Mapping[str, Seen],
    width: int,
    unicode: bool,
    lead: tuple[str, str] = ("", ""),
) -> Iterator[Line]:
    """A segment and what forks from it; ``lead`` is what stands before its own line and before theirs."""
    siblings = [other for other in segments if other.parent == segment.parent]
    children = [other for other in segments if other.parent == segment.segment_id]
    what = seen.get(segment.segment_id, Seen(state="waiting", iteration=segment.start))
    below = []
    for child in children:
        own, further = _BRANCHES[unicode, child is children[-1]]
        below += list(_tree(child, segments, seen, width, unicode, (lead[1] + own, lead[1] + further)))
    is_busy = what.state == "running" or any(line.is_busy for line in below)
    name = lead[0] + label(segment, siblings)
    yield Line(_line(name, segment, what, width, unicode), _STYLES[what.state], is_busy)
    yield from below


def _line(name: str, segment: Segment, seen: Seen, width: int, unicode: bool) -> str:
    """Name, bar, iterations, loss and AP, as far as there is room: the bar goes first, then the loss."""
    ap = "" if seen.box_ap is None else f"AP {seen.box_ap:.1f}"
    loss = "" if seen.loss is None or seen.state != "running" else f"loss {seen.loss:.2f}"
    far = f"{seen.iteration:,}/{segment.end:,}" if seen.state == "running" else seen.state
    drawn = bar(seen.iteration - segment.start, segment.iterations, unicode=unicode)
    if segment.is_evaluation:
        drawn = " " * BAR
    room = width - BAR - 42
    if room < 20:
        return f"{name[: max(8, width - 27)]:<{max(8, width - 27)}} {far:>17} {ap:>8}".rstrip()[:width]
    return f"{name[:room]:<{room}} {drawn} {far:>17} {loss:>11} {ap:>8}".rstrip()


def _left_out(roots: Sequence[Segment], segments: Sequence[Segment], seen: Mapping[str, Seen]) -> str:
    counts: dict[str, int] = {}
    names = {root.segment_id for root in roots}
    for segment in segments:
        if names & {segment.segment_id, *segment.ancestors}:
            known = seen.get(segment.segment_id)
            state = known.state if known else "waiting"
            counts[state] = counts.get(state, 0) + 1
    return "and " + ", ".join(f"{count} {state}" for state, count in counts.items())
