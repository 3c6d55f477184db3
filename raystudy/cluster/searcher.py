"""The plan as Tune sees it: a search algorithm that hands out segments as soon as they can start.

Tune asks for the next trial; the answer is read from the storage. So a branch is released when its fork checkpoint
is committed, while its trunk goes on; a restarted study goes on in the middle of the graph without any other memory;
and when slots are scarce the longest remaining path goes first.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from ray.tune.search import Searcher

from raystudy.cluster.flights import Flights
from raystudy.cluster.gate import Gate
from raystudy.cluster.leases import Leases
from raystudy.cluster.ledger import has_stopped, pending_pretrainings, release_forks
from raystudy.cluster.room import Group
from raystudy.cluster.settings import RunSettings
from raystudy.cluster.tracked_runs import TrackedRun
from raystudy.errors import ClusterError
from raystudy.spec.identity import to_dict
from raystudy.spec.plan import Plan, Segment
from raystudy.spec.trial import PretrainSpec
from raystudy.store import Store


class PlanSearcher(Searcher):
    """Hands out pre-trainings and segments as the gate admits them, each until it is done or given up."""

    def __init__(
        self,
        plan: Plan,
        segments: Sequence[Segment],
        settings: RunSettings,
        tracked: Mapping[str, Sequence[TrackedRun]],
        gate: Gate,
    ) -> None:
        super().__init__()
        self._store, self._plan = Store.open(settings.storage), plan
        self._settings, self._threads, self._gpus = to_dict(settings), settings.threads, settings.device == "cuda"
        self._tracked, self._gate, self._flights = tracked, gate, Flights()
        self._leases, self._seen_elsewhere = Leases(self._store.files), set[str]()
        self._pretrainings = pending_pretrainings(self._store, plan, segments)
        self._waiting = {segment.segment_id: segment for segment in segments}
        self._nodes: dict[str, Segment | PretrainSpec] = {**self._pretrainings, **self._waiting}
        self.failed: dict[str, str] = {}
        """Nodes that will never be done, with the reason."""

        self.refusal: ClusterError | None = None
        """Why the study ends early: the cluster cannot run it."""

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Nothing is optimised; accept whatever Tune passes."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next node that can start; None when all that are left wait; FINISHED when none is left."""
        can_start = self._look()
        if self.refusal is not None or not (self._pretrainings or self._waiting or self._flights.nodes):
            return str(Searcher.FINISHED)
        ready = [(self._priority_of_weights(key), key) for key in self._pretrainings]
        ready += [(segment.remaining, segment.segment_id) for segment in can_start]
        ready = [item for item in ready if self._flights.may_try(item[1]) and not self._is_elsewhere(item[1])]
        flying = self._flights.groups
        if not ready:
            self._gate.renew(flying)
            return None
        ready.sort(key=lambda item: -item[0])  # of equal ones, the first of the plan
        groups = [self._group(node_id) for _, node_id in ready]
        try:
            if not self._gate.admits(groups[0], flying, groups):
                return None
        except ClusterError as refusal:
            self.refusal = refusal
            return None
        _, node_id = ready[0]
        if not self._take(node_id):
            return None
        self._flights.begin(trial_id, node_id, groups[0])
        if node_id in self._pretrainings:
            return self._config("pretraining", node_id, self._pretrainings.pop(node_id))
        return self._config("segment", node_id, self._waiting.pop(node_id))

    @property
    def flying(self) -> set[str]:
        """Tune's ids of the trials at work."""
        return self._flights.trials

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Hand a node out again that has failed, or give it up; free what a finished one has made needless."""
        release_forks(self._store, self._plan)
        node_id = self._flights.end(trial_id)
        self._leases.release(node_id)
        if result is not None and result.get("refusal"):
            self.failed[node_id] = str(result["refusal"])
        elif error:
            self._try_again(node_id)

    def on_trial_lost(self, trial_id: str) -> None:
        """Hand a node out again that has ended before it began: Tune could not reuse a process for it."""
        node_id = self._flights.end(trial_id)
        self._leases.release(node_id)
        if self._flights.lose(node_id):
            self._wait_again(node_id)
        else:
            self.failed[node_id] = "no process of Tune's could be reused for it"

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the storage knows."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the storage knows."""

    def close(self) -> None:
        """Give back what other drivers wait for."""
        self._leases.close()

    def _is_elsewhere(self, node_id: str) -> bool:
        """Whether another driver of the storage is at work on the node: its result is waited for."""
        found = self._leases.is_elsewhere(node_id)
        if found:
            self._seen_elsewhere.add(node_id)
        return found

    def _take(self, node_id: str) -> bool:
        """Hold a node that is to start; False when another driver was faster, or has done it already."""
        if not self._leases.take(node_id):
            self._seen_elsewhere.add(node_id)
            return False
        if not self._is_done(node_id):
            return True
        self._leases.release(node_id)
        self._pretrainings.pop(node_id, None)
        self._waiting.pop(node_id, None)
        return False

    def _is_done(self, node_id: str) -> bool:
        segment = self._waiting.get(node_id)
        if segment is None:
            return self._store.has_weights(node_id)
        # What ended early in another driver's hands, while this one waited for it, is not tried once more here.
        has_ended = node_id in self._seen_elsewhere and has_stopped(self._store, node_id)
        return has_ended or self._store.segment(node_id).is_done(segment.end)

    def _config(self, kind: str, node_id: str, node: Segment | PretrainSpec) -> dict[str, Any]:
        return {
            "kind": kind,
            "node_id": node_id,
            "node": to_dict(node),
            "settings": self._settings,
            "tracked": [run.to_dict() for run in self._tracked.get(node_id, ())],
        }

    def _try_again(self, node_id: str) -> None:
        progress = self._reached(node_id) if isinstance(self._nodes[node_id], Segment) else 0
        if self._flights.fail(node_id, progress):
            self._wait_again(node_id)
        else:
            self.failed[node_id] = f"it failed {self._flights.failures(node_id)} times in a row"

    def _wait_again(self, node_id: str) -> None:
        node = self._nodes[node_id]
        if isinstance(node, Segment):
            self._waiting[node_id] = node
        else:
            self._pretrainings[node_id] = node

    def _group(self, node_id: str) -> Group:
        node = self._nodes[node_id]
        workers = node.spec.workers if isinstance(node, Segment) else node.workers
        return Group(workers=workers, cpus=self._threads, gpus=float(self._gpus))

    def _priority_of_weights(self, weights_id: str) -> int:
        """Before everything that waits for it."""
        return 1 + max((s.remaining for s in self._waiting.values() if s.spec.init.weights_id == weights_id), default=0)

    def _look(self) -> list[Segment]:
        """Waiting segments that can start; what waits for something that will never be there is given up.

        On an object store each question is a request: of each weights and each trunk it is asked once.
        """
        has_weights, reached = cache(self._store.has_weights), cache(self._reached)
        can_start = []
        for segment_id, segment in list(self._waiting.items()):
            init = segment.spec.init
            has_init = init.kind != "pretrained" or has_weights(init.weights_id)
            if has_init and (segment.parent is None or reached(segment.parent) >= segment.start):
                can_start.append(segment)
            elif reason := self._hopeless(segment):
                self.failed[segment_id] = reason
                del self._waiting[segment_id]
        return can_start

    def _reached(self, segment_id: str) -> int:
        return self._store.segment(segment_id).committed_iteration()

    def _hopeless(self, segment: Segment) -> str:
        """Why what a segment waits for will never be there; empty while it may."""
        parent, weights_id = segment.parent, segment.spec.init.weights_id
        if weights_id in self.failed:
            return f"its weights {weights_id} could not be made: {self.failed[weights_id]}"
        if parent is not None and parent in self.failed:
            return f"its trunk {parent} failed before iteration {segment.start}"
        if parent is not None and not self._is_open(parent) and has_stopped(self._store, parent):
            return f"its trunk {parent} ended before iteration {segment.start}"
        return ""

    def _is_open(self, segment_id: str) -> bool:
        return segment_id in self._waiting or segment_id in self._flights.nodes
