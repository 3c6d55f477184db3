"""What all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

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
    from raystudy.cluster.connection import prepare_environment

    prepare_environment()
    import ray

    ray.init(num_cpus=2, include_dashboard=True, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of an S3 that lives as long as the tests."""
    from tests.object_store import moto_server

    with moto_server() as endpoint:
        yield endpoint


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The address of a new bucket; what is fetched of it goes to a cache of the test's own."""
    from tests.object_store import new_bucket, use

    use(monkeypatch, s3_endpoint)
    monkeypatch.setenv("RAYSTUDY_CACHE", str(tmp_path / "cache"))
    return f"s3://{new_bucket(s3_endpoint)}/study"
