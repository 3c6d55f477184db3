"""How long a plan takes on a number of slots: in iterations when all take equally long, or in measured seconds."""

import heapq
from collections.abc import Mapping

from raystudy.spec.plan import Plan, Segment


def makespan(plan: Plan, slots: int, lengths: Mapping[str, float] | None = None) -> float:
    """Time from the study's begin to its end on ``slots`` side by side.

    Scheduled as Tune runs it: whatever can start does, the longest remaining path first, and a branch can start when
    its trunk has passed the fork.

    Args:
        plan: of the study.
        slots: nodes that run at the same time; at least 1.
        lengths: of every segment and pre-training, by id; its iterations when None, pre-training's counted alike.
    """
    if lengths is None:
        lengths = {segment.segment_id: segment.iterations for segment in plan.segments}
        lengths |= {weights_id: recipe.iterations for weights_id, recipe in plan.pretrainings.items()}
    waiting = {segment.segment_id: segment for segment in plan.segments}
    began: dict[str, float] = {}
    weights_done = dict.fromkeys(plan.pretrainings, -1.0)  # -1: not known yet
    pretrainings = list(plan.pretrainings)
    running: list[float] = []  # times at which slots become free
    now: float = 0
    while waiting or pretrainings:
        if len(running) < slots:
            if pretrainings:
                weights_id = pretrainings.pop(0)
                weights_done[weights_id] = now + lengths[weights_id]
                heapq.heappush(running, weights_done[weights_id])
                continue
            ready = [s for s in waiting.values() if 0 <= _ready_at(s, plan, began, weights_done, lengths) <= now]
            if ready:
                segment = max(ready, key=lambda s: s.remaining)
                del waiting[segment.segment_id]
                began[segment.segment_id] = now
                if lengths[segment.segment_id] > 0:  # an evaluation counts no iteration
                    heapq.heappush(running, now + lengths[segment.segment_id])
                continue
        releases = [_ready_at(s, plan, began, weights_done, lengths) for s in waiting.values()]
        # When no slot is free, nothing can start before one is.
        now = min(moment for moment in [*running, *(releases if len(running) < slots else [])] if moment > now)
        while running and running[0] <= now:
            heapq.heappop(running)
    return max(running, default=now)


def _ready_at(
    segment: Segment,
    plan: Plan,
    began: Mapping[str, float],
    weights_done: Mapping[str, float],
    lengths: Mapping[str, float],
) -> float:
    """When the segment can start; -1 when that is not known yet."""
    init = segment.spec.init
    ready = weights_done.get(init.weights_id, 0) if init.kind == "pretrained" else 0
    if segment.parent is not None and ready >= 0:
        if segment.parent not in began:
            return -1
        parent = plan.segment(segment.parent)
        passed = (segment.start - parent.start) / parent.iterations  # share of the parent that lies before the fork
        ready = max(ready, began[parent.segment_id] + passed * lengths[parent.segment_id])
    return ready
