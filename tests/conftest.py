"""What all tests share."""

import os
from collections.abc import Iterator

import pytest

# One thread each: results depend on the thread count, and tests must not fight over cores. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test may reach a tracking server or Ray's usage collection.
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests are shared out over processes (``make test``), say which must stay together.

    Those that share the one Ray; those of a file, which share its fixtures. A test that kills processes shares nothing.
    """
    for item in items:
        if "ray_cluster" in getattr(item, "fixturenames", ()):
            group = "ray"
        elif item.get_closest_marker("chaos"):
            group = item.nodeid
        else:
            group = str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


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
