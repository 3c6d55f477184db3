"""What a user does on a laptop, step by step, with a time limit and a line for each; on failure the end of the log."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.real_cluster.hosts import LAPTOP, ROOT, Hosts

TAIL = 3500
"""Characters of a log that are shown when a step fails."""


class StepError(AssertionError):
    """A step failed or took too long; the message holds the end of its output."""


class Laptop:
    """The user's computer, at a prompt in the project's folder."""

    def __init__(self, hosts: Hosts) -> None:
        """``hosts`` has booted it."""
        self._hosts = hosts
        self._count = 0
        self.environment: dict[str, str] = {}
        """What the user has exported so far."""

    def run(self, command: str, *, limit: float, check: bool = True) -> str:
        """Output of a command that ends within ``limit`` seconds, and well unless ``check`` is False."""
        with step(command, limit=limit):
            process, log = self.start(command)
            try:
                status = process.wait(limit)
            except subprocess.TimeoutExpired:
                process.kill()
                raise StepError(f"no end after {limit:g} s: {command}\n{tail(log)}") from None
            output = log.read_text(errors="replace")
            if check and status:
                raise StepError(f"status {status}: {command}\n{tail(log)}")
        return output

    def start(self, command: str) -> "tuple[subprocess.Popen[bytes], Path]":
        """A command that goes on beside the others, and where its output is written."""
        self._count += 1
        log = self._hosts.folder / f"command{self._count}.log"
        exports = "".join(f"export {name}={value}; " for name, value in self.environment.items())
        line = f"export PATH=$HOME/venv/bin:$PATH OMP_NUM_THREADS=1 PYTHONPATH={ROOT}; cd {ROOT}; {exports}{command}"
        return self._hosts.start(LAPTOP, line, log), log

    def type(self, line: str, *, limit: float) -> str:
        """A line of a page: what it exports stays, the rest is run."""
        exported = dict(re.findall(r"(\w+)=(\S+)", line)) if line.startswith("export ") else {}
        self.environment.update(exported)
        return "" if exported else self.run(line, limit=limit)


@contextmanager
def step(what: str, *, limit: float) -> Iterator[None]:
    """Print what is done and how long it took."""
    start = time.monotonic()
    shown = what if len(what) <= 100 else what[:97] + "..."
    try:
        yield
    except BaseException:
        print(f"FAILED  {time.monotonic() - start:5.0f} s of {limit:g}  {shown}", file=sys.stderr, flush=True)
        raise
    print(f"ok      {time.monotonic() - start:5.0f} s of {limit:g}  {shown}", file=sys.stderr, flush=True)


def wait_until(what: str, is_so: Callable[[], object], *, limit: float, logs: Callable[[], str] = str) -> None:
    """Ask twice a second until it is so; a step of its own."""
    with step(what, limit=limit):
        deadline = time.monotonic() + limit
        while not is_so():
            if time.monotonic() > deadline:
                raise StepError(f"not after {limit:g} s: {what}\n{logs()}")
            time.sleep(0.5)


def tail(log: Path) -> str:
    """The end of a log."""
    return log.read_text(errors="replace")[-TAIL:] if log.is_file() else f"{log} is not there"


def commands_of_page(page: Path, heading: str) -> list[str]:
    """The lines of the bash blocks below a heading of a page."""
    section = page.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", section, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def replaced(text: str, changes: dict[str, str]) -> str:
    """``text`` with each key, which must be there, exchanged."""
    for old, new in changes.items():
        assert old in text, f"no {old!r} in:\n{text}"
        text = text.replace(old, new)
    return text
