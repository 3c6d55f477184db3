"""How long a plan takes on a number of slots, if every iteration of it takes equally long."""

import heapq

from raystudy.spec.plan import Plan, Segment


def makespan(plan: Plan, slots: int) -> int:
    """Iterations from the study's begin to its end on ``slots`` side by side; a pre-training iteration counts as one.

    Scheduled as Tune runs it: whatever can start does, the longest remaining path first, and a branch can start when
    its trunk has passed the fork.

    Args:
        plan: of the study.
        slots: nodes that run at the same time; at least 1.
    """
    waiting = {segment.segment_id: segment for segment in plan.segments}
    began: dict[str, int] = {}
    weights_done = dict.fromkeys(plan.pretrainings, -1)  # -1: not known yet
    pretrainings = list(plan.pretrainings)
    running: list[int] = []  # times at which slots become free
    now = 0
    while waiting or pretrainings:
        if len(running) < slots:
            if pretrainings:
                weights_id = pretrainings.pop(0)
                weights_done[weights_id] = now + plan.pretrainings[weights_id].iterations
                heapq.heappush(running, weights_done[weights_id])
                continue
            ready = [s for s in waiting.values() if _ready_at(s, plan, began, weights_done) in range(now + 1)]
            if ready:
                segment = max(ready, key=lambda s: s.remaining)
                del waiting[segment.segment_id]
                began[segment.segment_id] = now
                heapq.heappush(running, now + segment.iterations)
                continue
        now = _next_event(now, running, waiting, plan, began, weights_done, is_full=len(running) >= slots)
        while running and running[0] <= now:
            heapq.heappop(running)
    return max(running, default=now)


def _ready_at(segment: Segment, plan: Plan, began: dict[str, int], weights_done: dict[str, int]) -> int:
    """When the segment can start; -1 when that is not known yet."""
    init = segment.spec.init
    ready = weights_done.get(init.weights_id, 0) if init.kind == "pretrained" else 0
    if segment.parent is not None and ready >= 0:
        if segment.parent not in began:
            return -1
        ready = max(ready, began[segment.parent] + segment.start - plan.segment(segment.parent).start)
    return ready


def _next_event(
    now: int,
    running: list[int],
    waiting: dict[str, Segment],
    plan: Plan,
    began: dict[str, int],
    weights_done: dict[str, int],
    *,
    is_full: bool,
) -> int:
    """The next moment at which a slot becomes free or, when one is free already, a segment can start."""
    releases = [] if is_full else [_ready_at(s, plan, began, weights_done) for s in waiting.values()]
    return min([moment for moment in [*running, *releases] if moment > now])
