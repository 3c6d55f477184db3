"""A search as Tune sees it: segments of the open trials, each handed out as far as the next decision.

Tune's own search algorithms and schedulers are not used: they store a trial that was stopped early as complete with
its early value, count iterations anew after a restart, and suggest again after one what is already trained.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray.tune.search import Searcher

from raystudy.cluster.flights import Flights
from raystudy.cluster.gate import Gate
from raystudy.cluster.leases import Leases
from raystudy.cluster.room import Group
from raystudy.cluster.sampling import suggest
from raystudy.cluster.search_ledger import standing
from raystudy.cluster.settings import RunSettings
from raystudy.cluster.tracked_runs import TrackedRun, tracked_runs
from raystudy.errors import ClusterError
from raystudy.records import SegmentRef
from raystudy.search_records import SearchRecord, SearchState, SearchTrial
from raystudy.spec.identity import to_dict
from raystudy.spec.plan import Segment
from raystudy.spec.search import SearchSpec, split
from raystudy.spec.trial import PretrainSpec
from raystudy.store import Store

Tell = Callable[[SearchRecord, list[SearchTrial]], None]
"""Called with the record and the trials that are new or have changed."""


class SearchSearcher(Searcher):
    """Suggests generations, hands out their segments, prunes at rungs."""

    def __init__(
        self,
        search: SearchSpec,
        record: SearchRecord,
        settings: RunSettings,
        tell: Tell,
    ) -> None:
        super().__init__()
        self.record = record
        self.failed: dict[str, str] = {}
        """Nodes that will never be done, with the reason."""

        self.refusal: ClusterError | None = None
        """Why the search ends early: the cluster cannot run it."""

        self._search, self._settings, self._tell = search, settings, tell
        self._store = Store.open(settings.storage)
        self._forks = {arm.name: search.fork_points(arm.name) for arm in search.arms}
        self._flights, self._leases = Flights(), Leases(self._store.files)
        self._gate: Gate | None = None
        self._reopen()
        self._advance()

    def start(self, settings: RunSettings, gate: Gate) -> None:
        """Know the cluster: its device, and which nodes may start now."""
        self._settings, self._gate = settings, gate

    @property
    def is_finished(self) -> bool:
        """Whether every arm has spent its budget."""
        return not self._next and not any(trial.is_open for trial in self.record.trials)

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Nothing is optimised by Tune; accept whatever it passes."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next node that can start; None when all that are left wait; FINISHED when none is left."""
        if self.is_finished or self.refusal is not None:
            return str(Searcher.FINISHED)
        ready = self._ready()
        groups = [self._group(node) for _, _, _, node in ready]
        if not self._admits(groups):
            return None
        kind, trial, node_id, node = ready[0]
        if not self._take(node_id, node):
            return None
        self._flights.begin(trial_id, node_id, groups[0])
        return self._config(kind, node_id, node, trial)

    @property
    def flying(self) -> set[str]:
        """Tune's ids of the trials at work."""
        return self._flights.trials

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take what the node has brought into account; one that failed is handed out again a few times."""
        node_id = self._flights.end(trial_id)
        self._leases.release(node_id)
        if result is not None and result.get("refusal"):
            self.failed[node_id] = str(result["refusal"])
        elif error and not self._flights.fail(node_id, self._store.segment(node_id).committed_iteration()):
            self.failed[node_id] = f"it failed {self._flights.failures(node_id)} times in a row"
        self._advance()

    def on_trial_lost(self, trial_id: str) -> None:
        """Hand a node out again that has ended before it began: Tune could not reuse a process for it."""
        node_id = self._flights.end(trial_id)
        self._leases.release(node_id)
        if not self._flights.lose(node_id):
            self.failed[node_id] = "no process of Tune's could be reused for it"
        self._advance()

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the storage knows."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the storage knows."""

    def _ready(self) -> list[tuple[str, SearchTrial, str, Segment | PretrainSpec]]:
        """Nodes that could start now: what kind, for which trial."""
        busy, found = self._flights.nodes, []
        for trial, segment in self._next:
            recipe = self._missing_weights(segment)
            node_id = segment.segment_id if recipe is None else segment.spec.init.weights_id
            if node_id in busy or not self._flights.may_try(node_id):
                continue
            if not self._leases.is_elsewhere(node_id):
                busy.add(node_id)
                found.append(("segment" if recipe is None else "pretraining", trial, node_id, recipe or segment))
        return found

    def close(self) -> None:
        """Give back what other drivers wait for."""
        self._leases.close()

    def _take(self, node_id: str, node: Segment | PretrainSpec) -> bool:
        """Hold a node that is to start; False when another driver was faster, or has done it already."""
        if not self._leases.take(node_id):
            return False
        if isinstance(node, Segment):
            is_done = self._store.segment(node_id).is_done(node.end)
        else:
            is_done = self._store.has_weights(node_id)
        if is_done:
            self._leases.release(node_id)
            self._advance()
        return not is_done

    def _admits(self, groups: list[Group]) -> bool:
        """Whether there is room for the first."""
        flying = self._flights.groups
        if self._gate is None:
            return bool(groups)
        if not groups:
            self._gate.renew(flying)
            return False
        try:
            return self._gate.admits(groups[0], flying, groups)
        except ClusterError as refusal:
            self.refusal = refusal
            return False

    def _group(self, node: Segment | PretrainSpec) -> Group:
        workers = node.spec.workers if isinstance(node, Segment) else node.workers
        return Group(workers=workers, cpus=self._settings.threads, gpus=float(self._settings.device == "cuda"))

    def _config(self, kind: str, node_id: str, node: Segment | PretrainSpec, trial: SearchTrial) -> dict[str, Any]:
        return {
            "kind": kind,
            "node_id": node_id,
            "node": to_dict(node),
            "settings": to_dict(self._settings),
            "tracked": [run.to_dict() for run in self._tracked(trial).get(node_id, ())],
        }

    def _tracked(self, trial: SearchTrial) -> Mapping[str, Sequence[TrackedRun]]:
        """The runs that Weights & Biases shows of the trial's nodes."""
        if not (self._settings.tracking or self._settings.tensorboard):
            return {}
        levels = {"init": trial.arm, **{name: str(value) for name, value in trial.values.items()}}
        study = {"name": self._search.name, "levels": {trial.trial_id: levels}, "commit": self.record.commit}
        return tracked_runs(study, split(self._search.trial(trial.arm, trial.values)), "search")

    def _advance(self) -> None:
        """Bring the record up to date with the storage, until something is to be trained or nothing is left."""
        self._next: list[tuple[SearchTrial, Segment]] = []
        for arm in self._search.arms:
            while not (ready := self._stand(arm.name)) and self._ask(arm.name):
                pass
            self._next += ready
        self._next.sort(key=lambda item: -item[1].remaining)

    def _reopen(self) -> None:
        """Try failed trials again, unless later suggestions followed from them; a result that is kept stands."""
        for arm in self._search.arms:
            trials = self.record.of_arm(arm.name)
            newest = max((trial.generation for trial in trials), default=0)
            for trial in trials:
                if trial.state == SearchState.FAILED and trial.generation == newest:
                    self.record = self.record.with_trial(_as_suggested(trial))

    def _stand(self, arm: str) -> list[tuple[SearchTrial, Segment]]:
        """What the arm's open trials need next."""
        changed, ready = [], []
        for trial in self.record.of_arm(arm):
            if not trial.is_open:
                continue
            earlier = [t for t in self.record.of_arm(arm) if t.generation < trial.generation]
            found = standing(self._store, self._search, trial, earlier, self._given_up(arm), self._forks[arm])
            if found.trial != trial:
                self.record = self.record.with_trial(found.trial)
                changed.append(found.trial)
            if found.next is not None:
                ready.append((found.trial, found.next))
        if changed:
            self._tell(self.record, changed)
        return ready

    def _ask(self, arm: str) -> bool:
        """Suggest what is left of the arm's generation; False when its budget is spent."""
        budget, size, asked = self._search.budget(arm), self._search.generation, []
        number = len(self.record.of_arm(arm))
        generation = number // size
        while number < min(budget, (generation + 1) * size):
            trial = self._suggested(arm, number, generation)
            self.record = self.record.with_trial(trial)
            asked.append(trial)
            number += 1
        if asked:
            self._tell(self.record, asked)
        return bool(asked)

    def _suggested(self, arm: str, number: int, generation: int) -> SearchTrial:
        """From earlier generations' results; those of its own generation count as running, whatever became of them."""
        known = [t if t.generation < generation else _as_suggested(t) for t in self.record.of_arm(arm)]
        values = suggest(self._search, arm, known)
        spec = self._search.trial(arm, values)
        path = split(spec).segments
        return SearchTrial(
            arm=arm,
            number=number,
            generation=generation,
            values=values,
            trial_id=spec.trial_id,
            segments=tuple(SegmentRef(segment_id=s.segment_id, start=s.start, end=s.end) for s in path),
            total=spec.schedule.total,
        )

    def _missing_weights(self, segment: Segment) -> PretrainSpec | None:
        """The recipe of weights that the segment starts from and that the storage lacks."""
        init = segment.spec.init
        if init.kind != "pretrained" or init.pretrain is None or self._store.has_weights(init.weights_id):
            return None
        return init.pretrain

    def _given_up(self, arm: str) -> dict[str, str]:
        """Segments that cannot be trained; all of an arm's when its weights could not be made."""
        weights = self._search.trial(arm, {}).init.weights_id
        if weights not in self.failed:
            return self.failed
        reason = f"its weights {weights} could not be made: {self.failed[weights]}"
        refs = [ref for trial in self.record.of_arm(arm) for ref in trial.segments]
        return {**self.failed, **{ref.segment_id: reason for ref in refs}}


def _as_suggested(trial: SearchTrial) -> SearchTrial:
    return dataclasses.replace(trial, state=SearchState.RUNNING, iteration=0, at_rungs={}, value=None, error="")
