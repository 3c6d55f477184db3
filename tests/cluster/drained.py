"""A machine of a cluster tells Ray that it is taken back: how many machines for trials there are before and after.

python -m tests.cluster.drained
"""

import json
import os
import time

if __name__ == "__main__":
    os.environ["RAY_AUTH_MODE"] = "disabled"
    from raystudy.cluster.connection import prepare_environment

    prepare_environment()
    import ray
    from ray.cluster_utils import Cluster

    from raystudy.cluster.machines import machines_now
    from raystudy.cluster.room import Group, fits
    from raystudy.cluster.spot import drain_this_node

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    before = fits(Group(1, 1), machines_now().total)

    @ray.remote(num_cpus=1)
    class Trial:
        """At work on the machine that goes."""

        def leave(self) -> None:
            """As the process does that hears the notice."""
            drain_this_node(120.0)

        def works(self) -> bool:
            """Whether it can still commit."""
            return True

    trial = Trial.remote()
    ray.get(trial.leave.remote())
    deadline = time.monotonic() + 30
    while fits(Group(1, 1), machines_now().total) and time.monotonic() < deadline:
        time.sleep(0.2)
    after = fits(Group(1, 1), machines_now().total)
    works = ray.get(trial.works.remote())
    ray.shutdown()
    cluster.shutdown()
    print(json.dumps({"before": before, "after": after, "works": works}))
