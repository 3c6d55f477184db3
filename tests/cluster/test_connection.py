"""How a connection to Ray is secured, and that a Ray of one's own says nothing of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raystudy.cluster.connection import prepare_environment

START = "from raystudy.cluster.connection import connection\nwith connection(nested=False): print('started')"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process that has not imported Ray, of somebody who has no token."""
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setattr(os, "environ", {"HOME": str(tmp_path)})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "token"),
        ({"RAY_AUTH_MODE": "disabled"}, "disabled"),
        ({"RAY_ADDRESS": "auto"}, None),
        ({"RAY_ADDRESS": "auto", "RAY_AUTH_TOKEN": "0" * 64}, "token"),
        ({"RAY_ADDRESS": "auto", "RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "0" * 64}, "disabled"),
    ],
)
def test_a_token_is_asked_for_where_one_can_be(before: dict[str, str], after: str | None) -> None:
    os.environ.update(before)
    prepare_environment()
    assert os.environ.get("RAY_AUTH_MODE") == after


def test_what_ray_has_read_already_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", pytest)
    prepare_environment()
    assert "RAY_AUTH_MODE" not in os.environ


@pytest.mark.ray
def test_a_ray_of_ones_own_has_a_token_and_warns_of_nothing(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PATH": os.defpath, "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run([sys.executable, "-c", START], env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("started\n", "")
    assert (tmp_path / ".ray" / "auth_token").is_file()
