"""Who may start next on a cluster that grows, shrinks and is shared: arithmetic on what machines have free, no Ray.

A group of workers starts when all of it has room, so that none ever waits while it holds something. Studies are served
by priority, and those of the same priority in the order in which they began; room that a group of an earlier one could
take as it is now, or will take when others have given some back, is not given to a later one. So a large group is not
starved by many small ones, and every study gets its turn.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Resources = Mapping[str, float]

LIFE_S = 60.0
"""A study that has not been heard of for so long is taken for dead; it is heard of about every second."""

_EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Group:
    """Workers that start together or not at all."""

    workers: int
    cpus: float
    """Of one worker."""

    gpus: float = 0.0
    """Of one worker."""

    @property
    def bundle(self) -> dict[str, float]:
        """What one worker takes, as Ray writes it."""
        return {"CPU": float(self.cpus), **({"GPU": float(self.gpus)} if self.gpus else {})}

    @property
    def bundles(self) -> list[dict[str, float]]:
        """What every worker takes."""
        return [self.bundle] * self.workers

    def __str__(self) -> str:
        return ", ".join(f"{self.workers * amount:g} {kind}" for kind, amount in self.bundle.items())


@dataclass(frozen=True, slots=True)
class Standing:
    """What one study says of itself."""

    study: str
    """Its job in the cluster."""

    priority: int = 0
    since: float = 0.0
    """When it began."""

    flying: tuple[Group, ...] = ()
    """Groups that run, or were told to start."""

    ready: tuple[Group, ...] = ()
    """Groups that would start if they had room."""


@dataclass(frozen=True, slots=True)
class Machines:
    """What the cluster is at this moment; machines that are about to go are left out."""

    total: Sequence[Resources] = ()
    free: Sequence[Resources] = ()
    placed: Mapping[str, tuple[Group, ...]] = field(default_factory=dict)
    """Of each study, the groups that hold their resources."""

    nested: frozenset[str] = frozenset()
    """Studies whose groups are nested runs: those give back what they hold when nothing comes for a while. Others'
    are Tune's own processes, of which it keeps one in any case."""


def holds(group: Group, machine: Resources) -> int:
    """How many workers of the group the machine has room for, the group's number at most."""
    counts = (int((machine.get(kind, 0.0) + _EPSILON) // amount) for kind, amount in group.bundle.items())
    return max(0, min(group.workers, *counts))


def place(group: Group, free: Sequence[dict[str, float]]) -> bool:
    """Take the group's resources: from one machine where it fits, else from several; False, taking none, for no room.

    This is what Ray's strategy PACK does; of machines that hold all of it, the fullest is taken.
    """
    room = [holds(group, machine) for machine in free]
    if sum(room) < group.workers:
        return False
    whole = [number for number, count in enumerate(room) if count == group.workers]
    order = whole or sorted(range(len(free)), key=lambda number: -room[number])
    if whole:
        order = [min(whole, key=lambda number: sum(free[number].get(kind, 0.0) for kind in group.bundle))]
    left = group.workers
    for number in order:
        taken = min(left, room[number])
        if not taken:  # a machine may lack a kind of resource altogether
            break
        for kind, amount in group.bundle.items():
            free[number][kind] -= taken * amount
        left -= taken
    return True


def fits(group: Group, machines: Iterable[Resources]) -> bool:
    """Whether empty machines such as these hold the group."""
    return place(group, [dict(machine) for machine in machines])


class Room:
    """The studies that share a cluster, and which of them may start a group."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._known: dict[str, tuple[float, Standing]] = {}

    def renew(self, standing: Standing) -> None:
        """Hear of a study."""
        self._known[standing.study] = (self._clock(), standing)

    def leave(self, study: str) -> None:
        """Forget a study."""
        self._known.pop(study, None)

    def studies(self) -> list[Standing]:
        """Those that are alive, in the order in which they are served."""
        now = self._clock()
        self._known = {name: item for name, item in self._known.items() if now - item[0] < LIFE_S}
        alive = [standing for _, standing in self._known.values()]
        return sorted(alive, key=lambda standing: (-standing.priority, standing.since, standing.study))

    def demand(self) -> list[dict[str, float]]:
        """What all studies together can use now: the workers that run and those that are ready to."""
        return [bundle for one in self.studies() for group in (*one.flying, *one.ready) for bundle in group.bundles]

    def may_start(self, standing: Standing, group: Group, machines: Machines) -> bool:
        """Whether the study may start the group now. A yes counts as started at once."""
        self.renew(standing)
        studies = self.studies()
        if not self._has_room(standing, group, machines, studies):
            return False
        ready = list(standing.ready)
        if group in ready:
            ready.remove(group)
        self.renew(dataclasses.replace(standing, flying=(*standing.flying, group), ready=tuple(ready)))
        return True

    def _has_room(self, standing: Standing, group: Group, machines: Machines, studies: Sequence[Standing]) -> bool:
        is_kept = group in not_flying(standing, machines)  # of one that has just ended, for the next
        if is_kept and standing.study not in machines.nested:
            return True
        free = [dict(machine) for machine in machines.free]
        for study in studies:
            for coming in _not_placed(study, machines):
                place(coming, free)
        for earlier in studies:
            if earlier.study == standing.study:
                break
            for waiting in earlier.ready:
                if fits(waiting, machines.total) and not place(waiting, free):
                    return False
        return is_kept or place(group, free)


def not_flying(standing: Standing, machines: Machines) -> list[Group]:
    """Groups that hold their resources though nothing of theirs runs."""
    return _without(machines.placed.get(standing.study, ()), standing.flying)


def _not_placed(standing: Standing, machines: Machines) -> list[Group]:
    """Groups that were told to start and hold nothing yet."""
    return _without(standing.flying, machines.placed.get(standing.study, ()))


def _without(groups: Iterable[Group], others: Iterable[Group]) -> list[Group]:
    """What is left of ``groups`` when each of ``others`` is taken from it once."""
    left = list(groups)
    for group in others:
        if group in left:
            left.remove(group)
    return left
