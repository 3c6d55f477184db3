"""A Ray cluster as the laptop sees it: through the tunnel of ``ray dashboard``, with the token."""

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.real_cluster.hosts import LAPTOP, Hosts
from tests.real_cluster.steps import Laptop, StepError, step, tail, wait_until

FAST_HEALTH_CHECK = (
    "export RAY_health_check_initial_delay_ms=2000 RAY_health_check_period_ms=2000 RAY_health_check_timeout_ms=5000 "
    "RAY_health_check_failure_threshold=3; "
)
"""For the head: a machine counts as dead after some 20 s instead of a minute."""

_ASK = """
import pathlib, sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen
token = pathlib.Path("~/.ray/auth_token").expanduser().read_text().strip()
headers = {"Authorization": "Bearer " + token} if sys.argv[2] == "token" else {}
try:
    print(200, urlopen(Request("http://localhost:8265" + sys.argv[1], headers=headers), timeout=20).read().decode())
except HTTPError as error:
    print(error.code)
except OSError as error:
    print(0, error)
"""
"""Run on the laptop, with an address and whether to show the token."""


class Cluster:
    """One cluster and the job on it."""

    def __init__(self, hosts: Hosts, laptop: Laptop, *, apart: Sequence[str] = ()) -> None:
        """Nothing runs yet; ``apart`` are machines that do not belong to it."""
        self._apart = (LAPTOP, *apart)
        self._hosts = hosts
        self._laptop = laptop
        self._tunnel: tuple[subprocess.Popen[bytes], Path] | None = None
        (hosts.folder / "ask.py").write_text(_ASK)

    def open_tunnel(self, command: str) -> None:
        """Keep ``ray dashboard`` open until it leads to the head."""
        self._tunnel = self._laptop.start(command)
        log = self._tunnel[1]
        wait_until(command, lambda: self.ask("/api/version")[0] == 200, limit=90, logs=lambda: tail(log))

    def close_tunnel(self) -> None:
        """The laptop is shut; ssh goes with it."""
        assert self._tunnel is not None
        self._tunnel[0].kill()
        self._tunnel[0].wait()
        self._hosts.end(LAPTOP, "8265")
        self._tunnel = None

    def ask(self, path: str, *, token: bool = True) -> tuple[int, Any]:
        """Status and JSON of an address of the dashboard; 0 where nothing listens."""
        kind = "token" if token else "none"
        process, log = self._laptop.start(f"python -S {self._hosts.folder}/ask.py '{path}' {kind}")
        process.wait(40)
        status, _, content = log.read_text().strip().rpartition("\n")[2].partition(" ")
        log.unlink()
        return int(status or 0), json.loads(content) if status == "200" and content.startswith("{") else content

    def nodes(self) -> list[dict[str, Any]]:
        """The machines that are alive, as the cluster sees it."""
        status, content = self.ask("/api/v0/nodes?detail=1")
        if status != 200:
            return []
        return [node for node in content["data"]["result"]["result"] if node["state"] == "ALIVE"]

    def wait_for_nodes(self, count: int, *, limit: float) -> None:
        """Until exactly so many machines are alive."""
        wait_until(f"{count} machines are alive", lambda: len(self.nodes()) == count, limit=limit, logs=self.logs)

    def job(self) -> dict[str, Any]:
        """The newest job that was submitted."""
        status, content = self.ask("/api/jobs/")
        jobs = json.loads(content) if isinstance(content, str) and content.startswith("[") else []
        submitted = [job for job in jobs if job["type"] == "SUBMISSION"]
        return max(submitted, key=lambda job: job["start_time"], default={"status": f"none: {status} {content}"})

    def wait_for_job(self, *, limit: float) -> None:
        """Until the job has succeeded."""

        def is_over() -> bool:
            status = self.job()["status"]
            if status in ("FAILED", "STOPPED"):
                raise StepError(f"the job is {status}\n{self.logs()}")
            return bool(status == "SUCCEEDED")

        wait_until("the job succeeds", is_over, limit=limit, logs=self.logs)

    def assert_strangers_are_refused(self, head: str) -> None:
        """Who has no token gets nothing: at the dashboard, from `ray status`, by joining or by connecting."""
        with step("strangers without the token are refused", limit=120):
            assert self.ask("/api/jobs/", token=False)[0] == 401
            assert self.ask("/api/jobs/")[0] == 200
            for stranger, refused in (
                ("RAY_AUTH_MODE=disabled", "nauthenticated|token"),
                (f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN={'0' * 64}", "nauthenticated|nvalid"),
            ):
                process, log = self._laptop.start(f"{stranger} timeout 60 ray status --address={head}:6379")
                status = process.wait(70)
                assert status not in (0, 124), f"{stranger}: {tail(log)}"
                assert re.search(refused, log.read_text()), tail(log)

    def left(self) -> list[str]:
        """What still runs on the machines of the cluster."""
        machines = [address for address in self._hosts.addresses() if address not in self._apart]
        return [
            f"{self._hosts.name(address)}: {line}" for address in machines for line in self._hosts.processes(address)
        ]

    def logs(self) -> str:
        """The ends of the logs that say why nothing goes on."""
        found = []
        for address in self._hosts.addresses():
            folder = self._hosts.folder / address / "tmp" / "ray"
            for pattern in () if address in self._apart else ("monitor.log", "monitor.err", "job-driver-*.log"):
                for log in sorted(folder.glob(f"session_2*/logs/{pattern}")):
                    found.append(f"---- {log.relative_to(self._hosts.folder)}\n{tail(log)}")
        return "\n".join(found)
