"""A trial of two workers on a cluster, as a process of its own: what the cluster looked like meanwhile, as JSON.

python -m tests.cluster.growing_study STORAGE, with RAY_ADDRESS: on a cluster that has no machine for trials yet
python -m tests.cluster.growing_study STORAGE lost: on two machines, of which the one that trains is lost meanwhile
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from raystudy.api import run
from raystudy.cluster.connection import connection, prepare_environment
from raystudy.cluster.settings import RunSettings
from raystudy.spec.presets import init_axis
from raystudy.spec.study import StudySpec, with_workers
from raystudy.store import Store
from tests.tiny_trials import tiny_trial

LONG = 24
"""Iterations: long enough to be hit in the middle."""


def study(total: int = 6) -> StudySpec:
    """One trial of two workers."""
    return with_workers(StudySpec(name="grows", base=tiny_trial(total=total), axes=(init_axis(("random",)),)), 2)


class Watch(threading.Thread):
    """Looks at the cluster while the study is connected to it."""

    def __init__(self, look: Callable[[], None] = lambda: None) -> None:
        super().__init__(daemon=True)
        self.look = look
        self.first: int | None = None
        self.most = self.spread = 0
        self.done = False

    def run(self) -> None:
        """Until it is done."""
        import ray

        while not self.done:
            time.sleep(0.2)
            with suppress(Exception):  # it looks from outside, also while the connection goes
                if ray.is_initialized():
                    count = machines()
                    self.first = count if self.first is None else self.first
                    self.most = max(self.most, count)
                    self.spread = max([self.spread, *(len(places) for places in machines_of_groups())])
                    self.look()


def machines() -> int:
    """Machines that are alive and have CPUs."""
    import ray

    return sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())


def machines_of_groups() -> list[set[str]]:
    """On which machines each group of workers lies."""
    import ray

    groups = ray.util.placement_group_table().values()
    return [
        set(group["bundles_to_node_id"].values())
        for group in groups
        if group["name"].startswith("raystudy/") and group["state"] == "CREATED"
    ]


def lose_a_machine(storage: str) -> int:
    """Two machines that hold the trial each; the one that trains is lost, as with power cut off."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    prepare_environment()
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]
    os.environ["RAY_ADDRESS"] = cluster.address
    lost: list[str] = []

    def lose() -> None:
        store = Store.open(storage)
        has_begun = any(store.segment(name).committed_iteration() >= 4 for name in store.segment_ids())
        for node in nodes:
            if has_begun and not lost and {node.node_id} in machines_of_groups():
                lost.append(node.node_id)
                cluster.remove_node(node, allow_graceful=False)

    watch = Watch(lose)
    watch.start()
    outcome = run(study(LONG), RunSettings(storage=storage, study="grows", device="auto"))
    watch.done = True
    watch.join()
    print(json.dumps({"lost": len(lost), "spread": watch.spread, "is_complete": outcome.is_complete}))
    cluster.shutdown()
    return 0


def main(storage: str) -> int:
    """Run, watch, wait for the machines to go; the exit status."""
    watch = Watch()
    watch.start()
    outcome = run(study(), RunSettings(storage=storage, study="grows", device="auto"))
    watch.done = True
    watch.join()
    with connection(nested=False):
        deadline = time.monotonic() + 60
        while machines() and time.monotonic() < deadline:
            time.sleep(0.5)
        left = machines()
    told = {"first": watch.first, "most": watch.most, "spread": watch.spread, "left": left}
    print(json.dumps({**told, "is_complete": outcome.is_complete}))
    return 0


if __name__ == "__main__":
    sys.exit(lose_a_machine(sys.argv[1]) if sys.argv[2:] == ["lost"] else main(sys.argv[1]))
