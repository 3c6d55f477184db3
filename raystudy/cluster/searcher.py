"""The plan as Tune sees it: a search algorithm that hands out segments as soon as they can start.

Tune asks for the next trial; the answer is read from the storage. So a branch is released when its fork checkpoint
is committed, while its trunk goes on; a restarted study goes on in the middle of the graph without any other memory;
and when slots are scarce the longest remaining path goes first.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune.search import Searcher

from raystudy.cluster.ledger import has_diverged, pending_pretrainings, release_forks
from raystudy.cluster.settings import RunSettings
from raystudy.cluster.tracked_runs import TrackedRun
from raystudy.spec.identity import to_dict
from raystudy.spec.plan import Plan, Segment
from raystudy.spec.trial import PretrainSpec
from raystudy.store import Store


class PlanSearcher(Searcher):
    """Hands out pre-trainings and segments, each once."""

    def __init__(
        self,
        plan: Plan,
        segments: Sequence[Segment],
        settings: RunSettings,
        tracked: Mapping[str, Sequence[TrackedRun]],
        slots: int,
    ) -> None:
        super().__init__()
        self._store, self._plan = Store.open(settings.storage), plan
        self._settings = to_dict(settings)
        self._tracked, self._slots = tracked, slots
        self._pretrainings = pending_pretrainings(self._store, plan, segments)
        self._waiting = {segment.segment_id: segment for segment in segments}
        self._issued: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        """Nodes that will never be done, with the reason."""

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Nothing is optimised; accept whatever Tune passes."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next node that can start; None when all that are left wait; FINISHED when none is left."""
        self._drop_hopeless()
        if not self._pretrainings and not self._waiting:
            return str(Searcher.FINISHED)
        ready = [(self._priority_of_weights(key), key) for key in self._pretrainings]
        ready += [(segment.remaining, key) for key, segment in self._waiting.items() if self._can_start(segment)]
        if not ready:
            return None
        _, node_id = max(ready, key=lambda item: item[0])  # of equal ones, the first of the plan
        self._issued[trial_id] = node_id
        if node_id in self._pretrainings:
            return self._config("pretraining", node_id, self._pretrainings.pop(node_id))
        return self._config("segment", node_id, self._waiting.pop(node_id))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Remember a node that Tune has given up, and free what a finished one has made needless."""
        release_forks(self._store, self._plan)
        node_id = self._issued[trial_id]
        if error:
            self.failed[node_id] = "it failed at every attempt"
        elif result is not None and result.get("refusal"):
            self.failed[node_id] = str(result["refusal"])

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the storage knows."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the storage knows."""

    def _config(self, kind: str, node_id: str, node: Segment | PretrainSpec) -> dict[str, Any]:
        return {
            "kind": kind,
            "node_id": node_id,
            "node": to_dict(node),
            "settings": self._settings,
            "slots": self._slots,
            "tracked": [run.to_dict() for run in self._tracked.get(node_id, ())],
        }

    def _priority_of_weights(self, weights_id: str) -> int:
        """Before everything that waits for it."""
        return 1 + max((s.remaining for s in self._waiting.values() if s.spec.init.weights_id == weights_id), default=0)

    def _can_start(self, segment: Segment) -> bool:
        init = segment.spec.init
        if init.kind == "pretrained" and not self._store.has_weights(init.weights_id):
            return False
        return segment.parent is None or (self._store.segment(segment.parent).committed_iteration() >= segment.start)

    def _drop_hopeless(self) -> None:
        """Give up what waits for something that will never be there."""
        for segment_id, segment in list(self._waiting.items()):
            if self._can_start(segment):
                continue
            parent, weights_id = segment.parent, segment.spec.init.weights_id
            if weights_id in self.failed:
                self.failed[segment_id] = f"its weights {weights_id} could not be made: {self.failed[weights_id]}"
            elif parent is not None and parent in self.failed:
                self.failed[segment_id] = f"its trunk {parent} failed before iteration {segment.start}"
            elif parent is not None and parent not in self._waiting and has_diverged(self._store, parent):
                self.failed[segment_id] = f"its trunk {parent} diverged before iteration {segment.start}"
            else:
                continue
            del self._waiting[segment_id]
