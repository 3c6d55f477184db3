"""Machines for the stand-in of AWS: one boots for each that it says is running, and dies when it says so."""

import json
import subprocess
import threading
import time
from pathlib import Path

from tests.real_cluster.hosts import LAPTOP, Hosts

PORT = 5599
ENDPOINT = f"http://{LAPTOP}:{PORT}"
ENVIRONMENT = {
    "AWS_ENDPOINT_URL": ENDPOINT,
    "AWS_DEFAULT_REGION": "us-west-2",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
}
"""What a user's profile, and a machine's, would say to the tools."""


class FakeCloud:
    """Makes and ends machines on a network, in a thread of its own."""

    def __init__(self, hosts: Hosts, file: Path) -> None:
        """``file`` is what the stand-in reports to."""
        self._hosts = hosts
        self._file = file
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def machines(self, *, market: str | None = None) -> list[dict[str, str]]:
        """What the stand-in says is running, on-demand or spot or both."""
        if self._error is not None:
            raise self._error
        told = json.loads(self._file.read_text()) if self._file.exists() else []
        return [one for one in told if one["state"] == "running" and market in (None, one["market"])]

    def close(self) -> None:
        """Make no more."""
        self._ended.set()
        self._thread.join(30)

    def _follow(self) -> None:
        try:
            while not self._ended.is_set():
                wanted = {one["address"]: one for one in self.machines()}
                known = {address for address in self._hosts.addresses() if address.startswith("172.31.")}
                for address in known - wanted.keys():
                    self._hosts.kill(address)
                for address in wanted.keys() - known:
                    self._boot(address)
                time.sleep(0.5)
        except BaseException as error:
            self._error = error

    def _boot(self, address: str) -> None:
        # The key pair that Ray has made is in the user's home before any machine is asked for.
        pairs = sorted((self._hosts.folder / LAPTOP / "home" / ".ssh").glob("*.pem"))
        lines = [subprocess.check_output(["ssh-keygen", "-y", "-f", pair], text=True) for pair in pairs]
        exports = "".join(f"export {name}={value}\n" for name, value in ENVIRONMENT.items())
        name = f"ip-{address.replace('.', '-')}"
        self._hosts.boot(address, name, public_key="".join(lines), bashrc=exports)
