"""Several drivers on one storage: each node of their plans is at work for one of them at a time.

    STORAGE/drivers/<driver>.json       {"beat": 17, "host", "pid", "machine"}: written every BEAT_S while it lives
    STORAGE/leases/<node_id>/<n>.json   {"driver": …}; the highest n holds; exactly one of several makes the next one
    STORAGE/leases/<node_id>/<n>.free   it was given back

A driver is dead when its beat has stood still for DEAD_AFTER_S of the observer's own clock: no two clocks are compared,
and time in which the storage could not be read does not count. One of the same machine whose process is gone is dead at
once. A lease only keeps two drivers from doing the same work twice. That what they commit is right when it fails, since
a driver was only thought dead, is what raystudy.lineage is for.
"""

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raystudy.atomic import json_bytes
from raystudy.errors import StorageError
from raystudy.files import Files

LOGGER = logging.getLogger(__name__)

BEAT_S = 10.0
DEAD_AFTER_S = 60.0

LOOK_EVERY_S = 5.0
"""Between two looks at the same node or driver."""

LONGEST_LOOK_S = 2 * LOOK_EVERY_S
"""What counts of the time between two looks: an observer that was away has seen nothing stand still."""


@dataclass(slots=True)
class _Pulse:
    beat: int
    looked_at: float
    still_for: float = 0.0


class Leases:
    """What one driver holds, and what it knows of the others."""

    def __init__(self, files: Files, clock: Callable[[], float] = time.monotonic, beat_s: float = BEAT_S) -> None:
        """Of a driver in this process; its heart begins to beat when it takes its first lease."""
        self.driver = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._files, self._clock, self._beat_s = files, clock, beat_s
        self._held: dict[str, int] = {}
        self._elsewhere: dict[str, tuple[float, bool]] = {}
        self._pulses: dict[str, _Pulse] = {}
        self._heart: threading.Thread | None = None
        self._stop = threading.Event()
        self._beats = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return Leases, (self._files,)  # Tune writes its searcher down; a heart cannot be

    def is_elsewhere(self, node_id: str) -> bool:
        """Whether a living driver other than this one holds the node; looks every few seconds."""
        looked_at, found = self._elsewhere.get(node_id, (-LOOK_EVERY_S, False))
        if self._clock() - looked_at >= LOOK_EVERY_S:
            number, driver = self._holder(node_id)
            found = driver not in ("", self.driver) and number != self._held.get(node_id) and self._lives(driver)
            self._elsewhere[node_id] = self._clock(), found
        return found

    def take(self, node_id: str) -> bool:
        """Hold the node from now on; False when another driver does."""
        self._begin()
        number, driver = self._holder(node_id)
        if driver == self.driver:
            self._held[node_id] = number
            return True
        if driver and self._lives(driver):
            self._elsewhere[node_id] = self._clock(), True
            return False
        if not self._files.create(_lease(node_id, number + 1), json_bytes({"driver": self.driver})):
            return False
        self._held[node_id] = number + 1
        self._elsewhere.pop(node_id, None)
        for name in self._files.names(f"leases/{node_id}"):  # the newest decides: those before are history
            if int(name.partition(".")[0]) <= number:
                self._files.remove(f"leases/{node_id}/{name}")
        return True

    def release(self, node_id: str) -> None:
        """Give the node back, if this driver holds it."""
        number = self._held.pop(node_id, None)
        if number is not None:
            self._files.create(f"leases/{node_id}/{number}.free", json_bytes({"driver": self.driver}))

    def close(self) -> None:
        """Give everything back; also what cannot be told any more is free when the heart has stood still."""
        self._stop.set()
        if self._heart is None:
            return
        self._heart.join()
        try:
            for node_id in list(self._held):
                self.release(node_id)
            self._files.remove(_driver(self.driver))
        except StorageError as error:
            LOGGER.warning("leases were not given back (%s); others take them over in %g s", error, DEAD_AFTER_S)

    def _holder(self, node_id: str) -> tuple[int, str]:
        """Number of the newest lease, and the driver that holds it; nobody when it was given back."""
        names = self._files.names(f"leases/{node_id}")
        numbers = [int(name.removesuffix(".json")) for name in names if name.endswith(".json")]
        if not numbers:
            return 0, ""
        newest = max(numbers)
        if f"{newest}.free" in names:
            return newest, ""
        content = self._files.read(_lease(node_id, newest))
        return newest, "" if content is None else _text(content, "driver")

    def _lives(self, driver: str) -> bool:
        now, known = self._clock(), self._pulses.get(driver)
        if known is not None and now - known.looked_at < LOOK_EVERY_S:
            return known.still_for < DEAD_AFTER_S
        content = self._files.read_json(_driver(driver))
        if content is None or _process_is_gone(content):
            return False
        beat = int(content["beat"])
        if known is None or known.beat != beat:
            self._pulses[driver] = _Pulse(beat, now)
            return True
        known.still_for += min(now - known.looked_at, LONGEST_LOOK_S)
        known.looked_at = now
        return known.still_for < DEAD_AFTER_S

    def _begin(self) -> None:
        if self._heart is None:
            self._beat()  # before anything is held
            self._heart = threading.Thread(target=self._beat_on, daemon=True, name="leases")
            self._heart.start()

    def _beat_on(self) -> None:
        while not self._stop.wait(self._beat_s):
            try:
                self._beat()
            except StorageError as error:
                LOGGER.warning("this driver could not tell that it lives (%s)", error)

    def _beat(self) -> None:
        self._beats += 1
        says = {"beat": self._beats, "host": socket.gethostname(), "pid": os.getpid(), "machine": _machine()}
        self._files.write_json(_driver(self.driver), says)


def _lease(node_id: str, number: int) -> str:
    return f"leases/{node_id}/{number}.json"


def _driver(driver: str) -> str:
    return f"drivers/{driver}.json"


def _text(content: bytes, name: str) -> str:
    try:
        return str(json.loads(content)[name])
    except (ValueError, KeyError, TypeError):  # torn on a file system without links: nobody's
        return ""


def _process_is_gone(says: dict[str, Any]) -> bool:
    """Whether a driver was a process of this very machine and has ended."""
    if says.get("machine") != _machine() or not _machine():
        return False
    try:
        os.kill(int(says["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _is_zombie(int(says["pid"]))


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except OSError:
        return True


def _machine() -> str:
    """Names this boot of this machine and its space of process ids; empty where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""
