"""A study on a cluster that has no machine for trials yet: what the cluster looked like meanwhile, as JSON.

python -m tests.cluster.growing_study STORAGE, with RAY_ADDRESS
"""

import json
import sys
import threading
import time
from contextlib import suppress

from raystudy.api import run
from raystudy.cluster.settings import RunSettings
from raystudy.cluster.tuner import connection
from raystudy.spec.presets import init_axis
from raystudy.spec.study import StudySpec, with_workers
from tests.tiny_trials import tiny_trial


def study() -> StudySpec:
    """One trial of two workers."""
    return with_workers(StudySpec(name="grows", base=tiny_trial(total=6), axes=(init_axis(("random",)),)), 2)


class Watch(threading.Thread):
    """Looks at the cluster while the study is connected to it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
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
                    self.spread = max([self.spread, *spreads()])


def machines() -> int:
    """Machines that are alive and have CPUs."""
    import ray

    return sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())


def spreads() -> list[int]:
    """Over how many machines each group of workers lies."""
    import ray

    groups = ray.util.placement_group_table().values()
    return [
        len(set(group["bundles_to_node_id"].values()))
        for group in groups
        if group["name"].startswith("raystudy/") and group["state"] == "CREATED"
    ]


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
    sys.exit(main(sys.argv[1]))
