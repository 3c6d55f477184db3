"""The fake machines reach each other and nobody else, and die with the process that made them, however it ends."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.real_cluster.hosts import LAPTOP, ROOT, Hosts, network, what_is_missing

pytestmark = pytest.mark.skipif(bool(what_is_missing()), reason=f"SKIPPED real clusters: {what_is_missing()}")

OTHER = "10.77.0.11"
SLEEPER = """
import sys, time
from tests.real_cluster.hosts import LAPTOP, network
with network() as hosts:
    hosts.boot(LAPTOP, "laptop")
    process = hosts.start(LAPTOP, "sleep 4321", hosts.folder / "sleep.log")
    while not hosts.processes(LAPTOP):
        time.sleep(0.05)
    print(hosts.folder, hosts.first_process(LAPTOP), flush=True)
    time.sleep(600)
"""


def answers(hosts: Hosts, address: str, port: int) -> bool:
    """Whether the laptop can open a connection."""
    log = hosts.folder / "probe.log"
    return hosts.start(LAPTOP, f"timeout 3 bash -c '</dev/tcp/{address}/{port}'", log).wait(10) == 0


def test_machines_reach_each_other_unless_cut_off_and_nobody_else() -> None:
    with network() as hosts:
        hosts.boot(LAPTOP, "laptop")
        hosts.boot(OTHER, "other")
        assert answers(hosts, OTHER, 22)
        for outside in ("1.1.1.1", "169.254.169.254"):
            assert not answers(hosts, outside, 80)
            assert "unreachable" in (hosts.folder / "probe.log").read_text()
        hosts.cut(OTHER)
        assert not answers(hosts, OTHER, 22)
        hosts.heal(OTHER)
        assert answers(hosts, OTHER, 22)
        hosts.kill(OTHER)
        assert not answers(hosts, OTHER, 22)


def test_machines_die_with_a_process_that_is_killed_and_their_folder_is_swept_later() -> None:
    made = subprocess.Popen([sys.executable, "-c", SLEEPER], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert made.stdout is not None
    folder, first = made.stdout.readline().split()
    assert Path(f"/proc/{first}").exists()
    made.kill()
    made.wait()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{first}").exists():
        assert time.monotonic() < deadline, "its machine is still there"
        time.sleep(0.05)
    assert Path(folder).exists()
    with network():
        assert not Path(folder).exists()
