"""One local Ray for the tests that need it."""

import os
from collections.abc import Iterator

import pytest


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
