"""Notices of a cloud that a spot machine is about to be taken back.

Nobody sends a signal: a machine has to ask its metadata service. AWS says so two minutes before, on ``/latest/``
(instance metadata version 2, with a token), Google half a minute before, on ``/computeMetadata/``. Each process that
trains asks for itself, every few seconds, and needs no permission for it.
"""

import json
import logging
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

logger = logging.getLogger(__name__)

ENVIRONMENT_VARIABLE = "RAYSTUDY_METADATA"
"""An address, in place of the cloud's own; ``off`` asks nobody."""

METADATA_ADDRESS = "http://169.254.169.254"
"""Of every cloud that has such a service, from within a machine."""

POLL_S = 5.0
GOOGLE_NOTICE_S = 30.0
_TIMEOUT_S = 2.0


def address_of_notices() -> str:
    """Where to ask: what the environment says, else the service of a cloud's machine; empty elsewhere."""
    asked = os.environ.get(ENVIRONMENT_VARIABLE)
    if asked is not None:
        return "" if asked == "off" else asked
    vendors = (_read(f"/sys/class/dmi/id/{name}") for name in ("sys_vendor", "bios_vendor", "board_vendor"))
    is_cloud = any(vendor.startswith(("Amazon", "Google")) for vendor in vendors)
    return METADATA_ADDRESS if is_cloud else ""


def seconds_left(address: str) -> float | None:
    """How long the machine has still got, as its cloud says; None when it has said nothing."""
    left = _ask_aws(address)
    return _ask_google(address) if left is None else left


@contextmanager
def watched(
    address: str, on_notice: Callable[[float], None], *, poll_s: float = POLL_S
) -> Iterator[Callable[[], bool]]:
    """Ask in a thread of its own; yields what tells whether a notice has come.

    Args:
        address: of the metadata service.
        on_notice: called once, with the seconds that are left; what it raises is logged.
        poll_s: between two questions.
    """
    told, over = threading.Event(), threading.Event()

    def watch() -> None:
        while not over.is_set():
            left = seconds_left(address)
            if left is not None:
                logger.warning("this machine will be taken back in %.0f s: committing and leaving", left)
                told.set()
                try:
                    on_notice(left)
                except Exception:
                    logger.exception("the cluster could not be told that this machine goes")
                return
            over.wait(poll_s)

    thread = threading.Thread(target=watch, daemon=True, name="spot notices")
    thread.start()
    try:
        yield told.is_set
    finally:
        over.set()


def drain_this_node(seconds: float) -> None:
    """Have Ray start nothing on this machine any more; harmless when it is told several times."""
    import ray
    from ray.core.generated import autoscaler_pb2

    context = ray.get_runtime_context()
    deadline_ms = int((time.time() + seconds) * 1000)
    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    client = ray._raylet.GcsClient(address=context.gcs_address)
    client.drain_node(context.get_node_id(), reason, "spot machine taken back", deadline_ms)


def _ask_aws(address: str) -> float | None:
    token = _ask(f"{address}/latest/api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    if token is None:
        return None
    answer = _ask(f"{address}/latest/meta-data/spot/instance-action", "GET", {"X-aws-ec2-metadata-token": token})
    if answer is None:
        return None
    try:
        when = datetime.strptime(json.loads(answer)["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except (ValueError, KeyError, TypeError):
        return 0.0  # a notice all the same
    return max(0.0, when.timestamp() - time.time())


def _ask_google(address: str) -> float | None:
    answer = _ask(f"{address}/computeMetadata/v1/instance/preempted", "GET", {"Metadata-Flavor": "Google"})
    return GOOGLE_NOTICE_S if answer is not None and answer.strip() == "TRUE" else None


def _ask(url: str, method: str, headers: dict[str, str]) -> str | None:
    """The answer; None for any other than 200, and where nobody answers."""
    request = urllib.request.Request(url, method=method, headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as response:
            return str(response.read(4096).decode(errors="replace")) if response.status == 200 else None
    except (urllib.error.URLError, OSError, ValueError):
        return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
