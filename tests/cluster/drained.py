"""A machine of a cluster tells Ray that it is taken back: how many machines for trials there are before and after.

python -m tests.cluster.drained
"""

import json
import os
import time

if __name__ == "__main__":
    os.environ["RAY_AUTH_MODE"] = "disabled"
    from raystudy.cluster.tuner import prepare_environment

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
    ray.get(ray.remote(num_cpus=1)(drain_this_node).remote(120.0))
    deadline = time.monotonic() + 30
    while fits(Group(1, 1), machines_now().total) and time.monotonic() < deadline:
        time.sleep(0.2)
    after = fits(Group(1, 1), machines_now().total)
    alive = sum(node["Alive"] for node in ray.nodes())
    ray.shutdown()
    cluster.shutdown()
    print(json.dumps({"before": before, "after": after, "alive": alive}))
