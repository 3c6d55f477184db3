"""A study as its user follows it from the laptop, whatever kind of storage it has."""

import json
from collections.abc import Callable, Collection

from tests.real_cluster.hosts import ROOT, Hosts
from tests.real_cluster.steps import Laptop, step, tail, wait_until
from tests.real_cluster.storages import Training


class Study:
    """One storage."""

    def __init__(self, laptop: Laptop, storage: str, logs: Callable[[], str]) -> None:
        """``logs`` says why nothing goes on."""
        self._laptop = laptop
        self._storage = storage
        self._logs = logs

    def running(self) -> list[Training]:
        """Every segment that has begun; empty while there is no storage yet."""
        return [Training(**found) for found in self._ask(f"running {self._storage}") or []]

    def wait_for_mid_trial(self, hosts: Collection[str], *, limit: float = 240) -> Training:
        """A segment that one of these machines trains, with the most left of those that have a checkpoint."""
        found: list[Training] = []

        def is_there() -> bool:
            found[:] = [t for t in self.running() if t.committed and not t.is_over and t.host in hosts]
            return bool(found)

        wait_until("a machine is in mid-trial", is_there, limit=limit, logs=self._logs)
        return max(found, key=lambda training: training.end - training.committed)

    def wait_until_moved_on(self, victim: Training, *, limit: float) -> None:
        """Until a newer attempt at the segment runs on another machine."""

        def has_moved_on() -> bool:
            (now,) = [training for training in self.running() if training.segment == victim.segment]
            return now.attempt > victim.attempt and now.host != victim.host

        wait_until(f"another machine goes on with {victim.segment}", has_moved_on, limit=limit, logs=self._logs)

    def assert_same_bits(self, reference: str) -> None:
        """Same trials, same rows once each, same weights."""
        with step("same trials, same rows once each, same weights", limit=120):
            assert self._ask(f"differences {self._storage} {reference}") == []

    def _ask(self, question: str) -> list[object] | None:
        process, log = self._laptop.start(f"python -m tests.real_cluster.storages {question}")
        status = process.wait(120)
        answer = log.read_text().strip().splitlines()
        if status or not answer:
            if "StorageError" in tail(log) or not answer:
                return None
            raise AssertionError(tail(log))
        log.unlink()
        found: list[object] = json.loads(answer[-1])
        return found


class Undisturbed:
    """The command of a job, in the background on a machine apart and with a storage of its own."""

    def __init__(self, hosts: Hosts, address: str, job: str, storage: str, reference: str) -> None:
        """Starts it."""
        script = job.split(" -- ")[1].replace(storage, reference)
        exports = f"export PATH=$HOME/venv/bin:$PATH OMP_NUM_THREADS=1 PYTHONPATH={ROOT} RAY_AUTH_MODE=disabled"
        self.reference = reference
        self._log = hosts.folder / "undisturbed-run.log"
        self._start = lambda: hosts.start(address, f"{exports}; cd {ROOT} && {script}", self._log)
        self._process = self._start()

    def wait(self, limit: float) -> None:
        """Until it has ended well; where the machine was too busy for Ray to start, once more."""
        with step("the same study without any of this ends", limit=limit):
            if self._process.wait(limit):
                self._process = self._start()
                assert self._process.wait(limit) == 0, tail(self._log)
