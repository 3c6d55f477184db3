"""Fake machines on one Linux: namespaces with address, home and ssh daemon each, on a network without a way out.

A machine ends when the process that made it ends, in whatever way, and its processes with it: nothing is kept by name.
"""

import contextlib
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LAPTOP = "10.77.0.10"
NETWORKS = ("10.77.0.0/24", "172.31.0.0/16")
"""Ours, and the one that AWS gives to every account. All machines reach each other, and nobody else."""

_FOLDERS = "raystudy-hosts-"
_INIT = Path(__file__).with_name("host_init.sh")
_NEEDED = {
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "rsync": "rsync",
}


def what_is_missing() -> str:
    """Why no fake machine can be made here, and what to do about it; empty when all is there."""
    if os.geteuid() != 0:
        return "needs root, for namespaces"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    packages = {package for tool, package in _NEEDED.items() if shutil.which(tool, path=path) is None}
    if packages:
        return f"needs {', '.join(sorted(packages))}: apt-get install -y {' '.join(sorted(packages))}"
    kinds = ["--net", "--pid", "--mount", "--uts", "--ipc", "--fork", "--mount-proc"]
    parts = "mount -t tmpfs none /run; ip link add bridge type bridge; ip link add name port type veth peer name eth0"
    command = ["unshare", *kinds, "bash", "-ec", parts]
    tried = subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=False)
    return f"may not make namespaces here: {tried.stderr.strip()}" if tried.returncode else ""


class Hosts:
    """A network with machines on it, of which one is the user's laptop."""

    def __init__(self) -> None:
        """An empty network; ``boot`` puts machines on it."""
        _sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDERS}{os.getpid()}-", dir="/var/tmp"))
        self.shared = self.folder / "shared"
        """A folder that all machines see at this path."""

        self.shared.mkdir()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._names = {LAPTOP: "laptop"}
        self._hosts_file = self.folder / "hosts"
        self._hosts_file.write_text("127.0.0.1 localhost\n")
        self.key = self.folder / "key"
        for file in (self.key, self.folder / "host_key"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file))
        self._switch = _in_namespaces(["--net"], ["sleep", "infinity"], self.folder / "switch.log")
        self._in_switch("ip", "link", "add", "bridge", "type", "bridge")
        self._in_switch("ip", "link", "set", "bridge", "up")

    def boot(
        self,
        address: str,
        name: str,
        *,
        public_key: str = "",
        bashrc: str = "",
        project: bool = False,
        private_key: bool = False,
    ) -> None:
        """A fresh machine: nothing of an earlier one of that address is left.

        Args:
            address: in one of ``NETWORKS``.
            name: its host name.
            public_key: of who may log in, besides us.
            bashrc: what its user's shell reads at first.
            project: whether this checkout is there.
            private_key: whether its user may log in to all machines, as ``ssh`` does without being told anything.
        """
        folder = self.folder / address
        shutil.rmtree(folder, ignore_errors=True)
        for part in ("home/.ssh", "tmp", "run/sshd"):
            (folder / part).mkdir(parents=True)
        (folder / "tmp").chmod(0o1777)
        (folder / "home").chmod(0o700)
        shutil.copy(self.folder / "host_key", folder / "run" / "host_key")
        authorized = folder / "home" / ".ssh" / "authorized_keys"
        authorized.write_text(self.key.with_suffix(".pub").read_text() + public_key)
        if private_key:
            shutil.copy(self.key, folder / "home" / ".ssh" / "id_ed25519")
            (folder / "home" / ".ssh" / "config").write_text("StrictHostKeyChecking no\nConnectTimeout 10\n")
        (folder / "home" / ".bashrc").write_text(bashrc)
        (folder / "home" / "venv").symlink_to(sys.prefix)
        # One line a machine, also for those that are booted before: the file is written in place, not replaced.
        if f" {name}\n" not in self._hosts_file.read_text():
            with self._hosts_file.open("a") as stream:
                stream.write(f"{address} {name}\n")
        namespaces = ["--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
        visible = {sys.prefix, sys.base_prefix, str(self.folder), *([str(ROOT)] if project else [])}
        command = ["bash", str(_INIT), name, address, str(folder), str(self._hosts_file), *sorted(visible)]
        process = _in_namespaces([*namespaces, "--propagation", "private"], command, self.folder / f"{name}.log")
        self._processes[address] = process
        self._names[address] = name
        port = _port(address)
        self._in_switch("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(process.pid))
        self._in_switch("ip", "link", "set", port, "master", "bridge", "up")
        routes = [f"route add {network} dev eth0 src {address}" for network in NETWORKS]
        for words in ("link set lo up", "link set eth0 up", f"addr add {address}/32 dev eth0", *routes):
            _run("nsenter", "-t", str(process.pid), "-n", "ip", *words.split())
        deadline = time.monotonic() + 20
        while not (folder / "home/.ssh").is_dir() or b"listening" not in (self.folder / f"{name}.log").read_bytes():
            assert process.poll() is None, (self.folder / f"{name}.log").read_text()
            assert time.monotonic() < deadline, f"{name} does not boot: " + (self.folder / f"{name}.log").read_text()
            time.sleep(0.02)

    def start(self, address: str, command: str, log: Path) -> "subprocess.Popen[bytes]":
        """A shell command on a machine, as its user would have typed it in a login shell of an empty environment."""
        home = pwd.getpwuid(0).pw_dir
        clean = [
            "env",
            "-i",
            f"HOME={home}",
            "USER=root",
            "TERM=dumb",
            "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        ]
        inside = ["nsenter", "-t", str(self.first_process(address)), "-m", "-u", "-i", "-n", "-p", "--wd=/"]
        with log.open("ab") as stream:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *inside, *clean, "bash", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )

    def cut(self, address: str) -> None:
        """Pull its network plug; everything on it goes on."""
        self._in_switch("ip", "link", "set", _port(address), "down")

    def heal(self, address: str) -> None:
        """Put the plug back."""
        self._in_switch("ip", "link", "set", _port(address), "up")

    def kill(self, address: str) -> None:
        """The machine is gone at once, as a spot machine that is taken back."""
        process = self._processes.pop(address)
        process.kill()
        process.wait()
        self._in_switch("ip", "link", "del", _port(address), check=False)

    def overlay(self, address: str, path: Path, text: str) -> None:
        """Let one machine see ``text`` in the place of a file, as if its user had edited it."""
        edited = self.folder / f"{address}-{path.name}"
        edited.write_text(text)
        _run("nsenter", "-t", str(self.first_process(address)), "-m", "mount", "--bind", str(edited), str(path))

    def addresses(self) -> list[str]:
        """All machines that are up."""
        return list(self._processes)

    def is_up(self, address: str) -> bool:
        """Whether there is such a machine."""
        return address in self._processes

    def processes(self, address: str) -> list[str]:
        """The command lines of everything that runs on a machine, without its ssh daemon."""
        return sorted(line for line in self._command_lines(address).values() if "sshd" not in line.split()[0])

    def end(self, address: str, words: str) -> None:
        """Kill what runs on a machine and has these words in its command line."""
        for process_id, line in self._command_lines(address).items():
            if words in line:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process_id, signal.SIGKILL)

    def name(self, address: str) -> str:
        """What the machine calls itself."""
        return self._names[address]

    def close(self) -> None:
        """End all machines and remove what they wrote."""
        for address in list(self._processes):
            self.kill(address)
        self._switch.kill()
        self._switch.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def first_process(self, address: str) -> int:
        """The first process of the machine's namespaces, by its id outside of them: the child of ``unshare``."""
        outer = self._processes[address].pid
        children = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
        return int(children[0])

    def _command_lines(self, address: str) -> dict[int, str]:
        """By process id, as it is outside of the machine; zombies have none."""
        namespace = os.readlink(f"/proc/{self.first_process(address)}/ns/pid")
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                if line and os.readlink(folder / "ns/pid") == namespace:
                    found[int(folder.name)] = line
        return found

    def _in_switch(self, *command: str, check: bool = True) -> None:
        _run("nsenter", "-t", str(self._switch.pid), "-n", *command, check=check)


@contextlib.contextmanager
def network() -> Iterator[Hosts]:
    """A network that is taken down in any case."""
    hosts = Hosts()
    try:
        yield hosts
    finally:
        hosts.close()


def _port(address: str) -> str:
    return "port" + "-".join(address.split(".")[2:])  # at most 15 characters


def _in_namespaces(kinds: Sequence[str], command: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
    """A process in new namespaces, which dies with this one; returns when its namespaces are there."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", *kinds, *command],
            env={"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
    own = os.readlink("/proc/self/ns/net")
    while os.readlink(f"/proc/{process.pid}/ns/net") == own:
        assert process.poll() is None, log.read_text()
        time.sleep(0.01)
    return process


def _run(*command: str, check: bool = True) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert not check or done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"


def _sweep() -> None:
    """Remove folders of runs that were killed; their machines died with them."""
    for folder in Path("/var/tmp").glob(f"{_FOLDERS}*"):
        try:
            os.kill(int(folder.name.removeprefix(_FOLDERS).split("-")[0]), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
