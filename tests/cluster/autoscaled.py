"""A Ray cluster of processes on this machine whose autoscaler starts and ends its machines, as in a cloud."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

IDLE_MINUTES = 0.1


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


@contextmanager
def autoscaled_cluster(cpus: int, machines: int) -> Iterator[str]:
    """The address of a cluster whose head runs no trial, and which may add ``machines`` of ``cpus`` CPUs each."""
    folder = Path(tempfile.mkdtemp(prefix="ras", dir="/tmp"))  # Ray's sockets lie below it: a short path
    address = f"{socket.gethostbyname(socket.gethostname())}:{free_port()}"
    config = folder / "cluster.json"
    config.write_text(json.dumps(_config(address, cpus, machines)))
    environment = {
        **os.environ,
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_enable_autoscaler_v2": "0",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_MODE": "disabled",
    }
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--num-cpus=0"]
    command += [f"--node-ip-address={address.split(':')[0]}", f"--port={address.split(':')[1]}"]
    command += [f"--autoscaling-config={config}", "--include-dashboard=false", f"--temp-dir={folder}"]
    command += [
        f"--{name}-port={free_port()}" for name in ("dashboard-agent-listen", "metrics-export", "ray-client-server")
    ]
    head = _start(command, environment, folder)
    try:
        yield address
    finally:
        _end(head, folder)
        shutil.rmtree(folder, ignore_errors=True)


def _start(command: list[str], environment: dict[str, str], folder: Path) -> "subprocess.Popen[bytes]":
    """A head that runs. Ray gives itself 30 s to start, which a busy machine may not have: it gets three turns."""
    for _ in range(3):
        with open(folder / "head.txt", "wb") as output:
            head = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
        deadline = time.monotonic() + 120
        while head.poll() is None and time.monotonic() < deadline:
            if "Ray runtime started" in (folder / "head.txt").read_text():
                return head
            time.sleep(0.2)
        _end(head, folder)
    raise AssertionError((folder / "head.txt").read_text())


def _config(address: str, cpus: int, machines: int) -> dict[str, Any]:
    return {
        "cluster_name": "fake",
        "max_workers": machines,
        "upscaling_speed": 100.0,
        "idle_timeout_minutes": IDLE_MINUTES,
        "provider": {
            "type": "fake_multinode",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "gcs_address": address,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": {"CPU": cpus}, "node_config": {}, "min_workers": 0, "max_workers": machines},
        },
        "head_node_type": "ray.head.default",
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        "head_node": {},
        "worker_nodes": {},
        **{name: [] for name in ("initialization_commands", "setup_commands", "head_setup_commands")},
        **{name: [] for name in ("worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")},
    }


def _end(head: "subprocess.Popen[bytes]", folder: Path) -> None:
    """The head and every process that names its folder."""
    head.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        head.wait(15)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(folder).encode() in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
