"""What `make test-cluster` takes from the cluster files and the page is there, also where it cannot run."""

import os
import shutil
from pathlib import Path

import pytest
import yaml

from tests.real_cluster import hosts, test_aws, test_on_prem

PRINTED = [
    "  region: &region us-west-2",
    "  zones: &zones us-west-2a",
    "  image: &image ami-1",
    "  security_group: &security_group sg-1",
    "  instance_profile: &instance_profile raystudy",
]


def test_the_rewritten_files_are_ours_but_for_login_addresses_resources_and_packages() -> None:
    for path, text in (
        (test_aws.FILE, test_aws.rewritten(PRINTED)),
        (test_on_prem.FILE, test_on_prem.rewritten()),
    ):
        ours, rewritten = yaml.safe_load(path.read_text()), yaml.safe_load(text)
        assert rewritten.keys() == ours.keys()
        same = {key for key in ours if ours[key] == rewritten[key]}
        assert {"cluster_name", "file_mounts", "rsync_exclude", "rsync_filter"} <= same
        starts = rewritten["head_start_ray_commands"][1] + rewritten["worker_start_ray_commands"][1]
        assert starts.count("export RAY_AUTH_MODE=token") == 2
        assert "pip install" not in str(rewritten["setup_commands"])


def test_the_page_says_every_line_that_is_typed() -> None:
    common = {"get-auth-token", "600", "RAY_AUTH_MODE", "doctor", "up", "dashboard", "RAY_ADDRESS", "job", "status"}
    common |= {"report", "down"}
    assert common | {"clusters/prepare_aws.py"} <= test_aws.lines_of_page().keys()
    page = test_on_prem.lines_of_page(Path("/shared/elsewhere"))
    assert common | {"RAY_UP_enable_autoscaler_v2", "worker"} <= page.keys()
    assert "/shared/elsewhere" in page["job"]


@pytest.mark.parametrize(("tool", "package"), [("sshd", "openssh-server"), ("rsync", "rsync"), ("ip", "iproute2")])
def test_what_is_missing_is_said_with_how_to_get_it(tool: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None if name == tool else f"/usr/bin/{name}")
    assert hosts.what_is_missing() == f"needs {package}: apt-get install -y {package}"


def test_without_root_it_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "root" in hosts.what_is_missing()
