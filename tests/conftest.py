"""What all tests share."""

import os
from collections.abc import Iterator

import pytest

# One thread each: results depend on the thread count, and tests must not fight over cores. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test may reach a tracking server or Ray's usage collection.
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Two CPUs, whatever the machine has; the full dashboard, which nested runs need to clean up."""
    os.environ.pop("RAY_ADDRESS", None)
    from raystudy.cluster.tuner import prepare_environment

    prepare_environment()
    import ray

    ray.init(num_cpus=2, include_dashboard=True, log_to_driver=False)
    yield
    ray.shutdown()
