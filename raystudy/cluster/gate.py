"""The gate of a study: which of its nodes may start now, on a cluster that changes and that others use too.

On a cluster all studies go through one detached actor, so that their answers cannot contradict each other; it also asks
the autoscaler for what they can use together, and takes that back when the last of them is gone, however it went. On a
Ray that a study has started for itself the same object lives in its own process.
"""

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import ray

from raystudy.cluster.machines import growth, let_go, machines_now, own_job, sweep
from raystudy.cluster.room import Group, Machines, Room, Standing, fits, not_flying
from raystudy.cluster.settings import RunSettings
from raystudy.errors import ClusterError

logger = logging.getLogger(__name__)

ACTOR_NAME, NAMESPACE = "raystudy-gate-1", "raystudy"
"""The number is of the actor's interface."""

PAUSE_S = 0.5
"""Between two looks at the cluster, which cost it a few milliseconds each."""

RENEW_S = 5.0
_RETRIES = 4


class Keeper:
    """The room of a cluster, and what its autoscaler has been asked for."""

    def __init__(self) -> None:
        self._room = Room()
        self._asked: list[dict[str, float]] = []

    def may_start(self, standing: Standing, group: Group) -> bool:
        """As ``Room.may_start``, on the cluster as it is now."""
        answer = self._room.may_start(standing, group, machines_now())
        self._ask_autoscaler()
        return answer

    def renew(self, standing: Standing) -> None:
        """As ``Room.renew``."""
        self._room.renew(standing)
        self._ask_autoscaler()

    def leave(self, study: str) -> None:
        """As ``Room.leave``."""
        self._room.leave(study)
        self._ask_autoscaler()

    def is_idle(self) -> bool:
        """Whether no study is alive."""
        self._ask_autoscaler()
        return not self._room.studies()

    def _ask_autoscaler(self) -> None:
        """For exactly what all studies can use now. A request stands until the next, and only the last one counts."""
        wanted = sorted(self._room.demand(), key=lambda bundle: sorted(bundle.items()))
        if wanted != self._asked:
            from ray.autoscaler.sdk import request_resources

            request_resources(bundles=wanted)
            self._asked = wanted


class _KeeperActor(Keeper):
    """The keeper as an actor, which ends when no study has been alive for a while."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, daemon=True).start()

    def ask(self, question: str, *arguments: Any) -> Any:
        """One at a time, and not while the watch looks."""
        with self._lock:
            return getattr(self, question)(*arguments)

    def _watch(self) -> None:
        idle_since = time.monotonic()
        while True:
            time.sleep(RENEW_S)
            with self._lock, contextlib.suppress(ray.exceptions.RayError):
                if not self.is_idle():
                    idle_since = time.monotonic()
            if time.monotonic() - idle_since > 60:
                with contextlib.suppress(ValueError, ray.exceptions.RayError):
                    ray.kill(ray.get_actor(ACTOR_NAME, namespace=NAMESPACE))


class AsksKeeper(Protocol):
    """How a gate talks to the keeper, wherever that lives."""

    def __call__(self, question: str, *arguments: Any) -> Any:
        """Call the keeper's method of that name."""
        ...


class Gate:
    """One study at the keeper's."""

    def __init__(self, ask: AsksKeeper, settings: RunSettings) -> None:
        self._ask, self._settings = ask, settings
        self._standing = Standing(study=own_job(), priority=settings.priority, since=time.time())
        self._looked = self._renewed = -1e9
        self._stuck_since: float | None = None

    def admits(self, group: Group, flying: Sequence[Group], ready: Sequence[Group]) -> bool:
        """Whether a node with this group may start now.

        Args:
            group: the node's workers.
            flying: of the nodes that run.
            ready: of the nodes that could start, this one included.

        Raises:
            ClusterError: the cluster has been too small for this group for ``settings.wait_minutes``.
        """
        now = time.monotonic()
        has_changed = (tuple(flying), tuple(ready)) != (self._standing.flying, self._standing.ready)
        if now - self._looked < PAUSE_S and not has_changed:
            return False
        self._standing = dataclasses.replace(self._standing, flying=tuple(flying), ready=tuple(ready))
        if freed := sweep():
            logger.warning("freed what %d groups of workers still held whose process is dead", freed)
        if self._ask("may_start", self._standing, group):
            self._stuck_since = None
            return True
        self._looked = self._renewed = now
        machines = machines_now()
        if self._standing.study in machines.nested:  # of another size than is wanted now, or owed to another study
            let_go(not_flying(self._standing, machines))
        self._check_patience(group, machines)
        return False

    def renew(self, flying: Sequence[Group], ready: Sequence[Group] = ()) -> None:
        """Tell that the study is alive, when nothing is to be started."""
        now, standing = time.monotonic(), dataclasses.replace(self._standing, flying=tuple(flying), ready=tuple(ready))
        if standing != self._standing or now - self._renewed > RENEW_S:
            self._standing, self._renewed = standing, now
            self._ask("renew", standing)

    def leave(self) -> None:
        """Want nothing any more."""
        self._ask("leave", self._standing.study)

    def _check_patience(self, group: Group, now_there: Machines) -> None:
        machines = now_there.total
        if fits(group, machines):
            self._stuck_since = None
            return
        now = time.monotonic()
        if self._stuck_since is None:
            self._stuck_since = now
            logger.warning(
                "waiting for machines: a node of %d workers needs %s, %s", group.workers, group, has(machines)
            )
        patience = self._settings.wait_minutes * 60
        if patience and now - self._stuck_since > patience:
            raise ClusterError(
                f"a node of {group.workers} workers needs {group}, but for {self._settings.wait_minutes:g} minutes "
                f"{has(machines)}; see what the autoscaler says (`ray status`), or wait longer with --wait-minutes"
            )


@contextmanager
def open_gate(largest: Group, settings: RunSettings) -> Iterator[Gate]:
    """The gate of a study; when it closes, the study's requests to the autoscaler are withdrawn.

    Args:
        largest: group of the study; refused where it can never fit.
        settings: with priority and patience.

    Raises:
        ClusterError: the largest group can never fit, with the arithmetic.
    """
    check_fits(largest)
    ask = _own_keeper() if _is_own_cluster() else _shared_keeper()
    gate = Gate(ask, settings)
    try:
        yield gate
    finally:
        with contextlib.suppress(ray.exceptions.RayError):
            gate.leave()


def check_fits(group: Group) -> None:
    """Refuse a group that no cluster of this kind will ever hold.

    Raises:
        ClusterError: with the arithmetic.
    """
    machines, coming = list(machines_now().total), growth()
    if fits(group, machines):
        return
    if coming is not None and coming.machines is None:
        logger.warning("the cluster may grow, nobody knows how far: waiting for machines that hold %s", group)
        return
    if coming is not None and coming.machines is not None:
        if fits(group, [*machines, *coming.machines]):
            return
        machines = list(coming.machines)
    most = ", at its largest" if coming is not None else ""
    raise ClusterError(
        f"a trial of {group.workers} workers with {group.cpus:g} threads each needs {group}, but "
        f"{has(machines)}{most}; take fewer --workers or --threads, or a larger cluster"
    )


def has(machines: Sequence[Any]) -> str:
    """What a cluster has, in words, by machine: the arithmetic of a refusal."""
    if not machines:
        return "the cluster has no machine for trials"
    kinds: dict[str, int] = {}
    for machine in machines:
        text = ", ".join(
            f"{machine.get(kind, 0):g} {kind}" for kind in ("CPU", "GPU") if kind in machine or kind == "CPU"
        )
        kinds[text] = kinds.get(text, 0) + 1
    return "the cluster has " + " and ".join(f"{count} x ({text})" for text, count in kinds.items())


def _is_own_cluster() -> bool:
    """Whether this process has started the Ray that it uses, so that no other study is there and it does not grow."""
    node = ray._private.worker._global_node
    return node is not None and bool(node.head)


def _own_keeper() -> AsksKeeper:
    keeper = Keeper()
    return lambda question, *arguments: getattr(keeper, question)(*arguments)


def _shared_keeper() -> AsksKeeper:
    """The cluster's keeper, started anew by whoever finds it gone; it learns what it must know from renewals."""
    actor = ray.remote(num_cpus=0)(_KeeperActor)

    def ask(question: str, *arguments: Any) -> Any:
        for attempt in range(_RETRIES):
            try:
                return once(question, *arguments)
            except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
                time.sleep(2**attempt)
        return once(question, *arguments)

    def once(question: str, *arguments: Any) -> Any:
        handle = actor.options(
            name=ACTOR_NAME,
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            resources={"node:__internal_head__": 0.001},
        ).remote()
        return ray.get(handle.ask.remote(question, *arguments), timeout=60)

    return ask
