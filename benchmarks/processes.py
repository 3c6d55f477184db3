"""CPU time of every process that a command starts, whoever waits for it."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
POLL_S = 0.1
"""What a process uses in its last moments, at most this long, is not seen."""

RAYS_DAEMONS = re.compile(
    r"gcs/gcs_server|raylet/raylet |ray/dashboard/|ray-dashboard|DashboardAgent"
    r"|runtime_env/agent|RuntimeEnvAgent|autoscaler/_private/monitor|log_monitor|ray_process_reaper"
)
"""Their command lines. They belong to no trial: what they use follows the wall time, and so the load of the machine."""

Key = tuple[int, str]
"""Number and moment of start, since numbers are used again."""


class ProcessTree:
    """Runs one command and adds up the CPU seconds of its process and all descendants, but Ray's daemons."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it; it tells in lines on its standard output how far it is."""
        self._command = list(command)
        self._seconds: dict[Key, float] = {}
        self._known: set[Key] = set()
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._process = subprocess.Popen(command, env=dict(environment), stdout=subprocess.PIPE, text=True, bufsize=1)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def seconds_at(self, line: str) -> float:
        """CPU seconds of all processes so far, once the command has said ``line``.

        Raises:
            RuntimeError: it ended before.
        """
        assert self._process.stdout is not None
        for said in self._process.stdout:
            if said.strip() == line:
                self._look()
                return sum(self._seconds.values())
        raise RuntimeError(f"{' '.join(self._command)} ended before it said {line!r}")

    def close(self) -> int:
        """Wait for its end; the exit status."""
        status = self._process.wait()
        self._ended.set()
        self._thread.join()
        return status

    def _watch(self) -> None:
        while not self._ended.wait(POLL_S):
            self._look()

    def _look(self) -> None:
        """A process is of the tree when its parent is, or was when it was seen before."""
        with self._lock:
            alive: dict[int, tuple[Key, int, float]] = {}
            for folder in Path("/proc").iterdir():
                if folder.name.isdigit():
                    try:
                        fields = (folder / "stat").read_text().rpartition(")")[2].split()
                    except OSError:
                        continue  # ended meanwhile
                    used = (int(fields[11]) + int(fields[12])) / TICKS
                    alive[int(folder.name)] = ((int(folder.name), fields[19]), int(fields[1]), used)
            members = {number for number, (key, _, _) in alive.items() if key in self._known}
            members |= {self._process.pid} & alive.keys()
            grown = True
            while grown:
                found = {number for number, (_, parent, _) in alive.items() if parent in members} - members
                members, grown = members | found, bool(found)
            for number in members:
                key, _, used = alive[number]
                self._known.add(key)
                if not _is_daemon(number):
                    self._seconds[key] = used


def _is_daemon(number: int) -> bool:
    try:
        line = Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return False
    return RAYS_DAEMONS.search(line) is not None


def own_command(module: str, *arguments: str) -> list[str]:
    """This Python, running a module of the benchmarks."""
    return [sys.executable, "-m", f"benchmarks.{module}", *arguments]
