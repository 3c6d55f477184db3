"""Groups of workers serve one node after the other; what fails, dies or waits too long costs a new group at most."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from raystudy.cluster import nested, worker_group
from raystudy.cluster.machines import let_go, machines_now, sweep
from raystudy.cluster.room import Group
from raystudy.errors import RaystudyError
from tests.tiny_trials import settings

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def _tell(config: dict[str, Any]) -> None:
    """A worker's process, and the sum over all of them, as a file of this node."""
    import torch

    from raystudy.training import collectives

    rank = collectives.rank()
    if config["fails"] == rank:
        raise ValueError("this node cannot be done")
    total = collectives.all_reduce_sum(torch.tensor(1.0 + rank))
    content = {"pid": os.getpid(), "sum": float(total), "world": collectives.world_size()}
    Path(config["folder"], f"{config['node']}-{rank}").write_text(json.dumps(content))


@pytest.fixture(autouse=True)
def _closed() -> Any:
    """No test leaves its workers to the next."""
    nested.close_workers()
    yield
    nested.close_workers()


class Nodes:
    """Nodes as a driving process gets them, one after the other."""

    def __init__(self, folder: Path) -> None:
        from raystudy.spec.identity import to_dict

        self._folder, self._count = folder, 0
        self._settings = to_dict(settings(folder / "s")) | {"device": "cpu"}

    def run(self, workers: int = 2, fails: int | None = None) -> list[dict[str, Any]]:
        """What each worker told of one node."""
        self._count += 1
        config = {"settings": self._settings, "folder": str(self._folder), "node": self._count, "fails": fails}
        nested.run_in_workers(_tell, config, node_id=f"node-{self._count}", workers=workers)
        return [json.loads((self._folder / f"{self._count}-{rank}").read_text()) for rank in range(workers)]


def _pids(told: list[dict[str, Any]]) -> set[int]:
    return {worker["pid"] for worker in told}


def _free_cpus() -> float:
    return sum(machine.get("CPU", 0.0) for machine in machines_now().free)


def _wait_for(is_so: Any, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_nodes_of_one_shape_are_served_by_the_same_processes_those_of_another_by_others(tmp_path: Path) -> None:
    from ray.experimental import internal_kv

    nodes = Nodes(tmp_path)
    told = [nodes.run(), nodes.run(), nodes.run()]
    assert [{(worker["sum"], worker["world"]) for worker in node} for node in told] == [{(3.0, 2)}] * 3
    assert _pids(told[0]) == _pids(told[1]) == _pids(told[2])
    assert len(_pids(told[0])) == 2
    assert _free_cpus() == 0  # they wait for the next node
    alone = nodes.run(workers=1)
    assert [worker["world"] for worker in alone] == [1]
    assert not _pids(alone) & _pids(told[0])
    assert _free_cpus() == 1
    let_go([Group(1, 1)])
    _wait_for(lambda: _free_cpus() == 2, worker_group.IDLE_S / 2)
    nested.close_workers()
    assert internal_kv._internal_kv_list(b"raystudy/", namespace=b"raystudy") == []


def test_workers_that_died_failed_or_waited_too_long_cost_a_new_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = Nodes(tmp_path)
    first = nodes.run()
    os.kill(first[1]["pid"], signal.SIGKILL)  # while they wait
    second = nodes.run()
    assert not _pids(first) & _pids(second)
    with pytest.raises(RaystudyError, match=r"node-3: (?s:.*)this node cannot be done"):
        nodes.run(fails=1)
    monkeypatch.setattr(worker_group, "IDLE_S", 0.5)
    third = nodes.run()
    assert not _pids(second) & _pids(third)
    _wait_for(lambda: _free_cpus() == 2)


def test_what_a_killed_process_drove_is_freed(tmp_path: Path) -> None:
    import ray

    class Driver:
        def drive(self, folder: str) -> None:
            Nodes(Path(folder)).run()

    driver = ray.remote(num_cpus=0)(Driver).remote()
    ray.get(driver.drive.remote(str(tmp_path)))
    assert _free_cpus() == 0
    assert sweep() == 0  # its process lives
    ray.kill(driver)

    def is_freed() -> bool:
        sweep()
        return _free_cpus() == 2

    _wait_for(is_freed)
