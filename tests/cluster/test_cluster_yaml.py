"""The cluster files are what Ray's launcher accepts, and hold neither a secret nor an open door."""

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import moto
import pytest
import yaml
from moto.ec2.models import instance_types
from ray.autoscaler._private import commands, util

ROOT = Path(__file__).resolve().parent.parent.parent
LAUNCHER_FILES = [ROOT / "cluster.yaml", ROOT / "clusters/on-prem.yaml", ROOT / "clusters/gcp.yaml"]
ALL_FILES = [*LAUNCHER_FILES, ROOT / "clusters/kuberay.yaml"]
REGION = "us-west-2"
IMAGE = "ami-0123456789abcdef0"


def load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An AWS account that lives in this process; nothing here reaches the network."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    # Ray asks for all instance types; describing a thousand takes moto ten seconds.
    used = set(re.findall(r"InstanceType: (\S+)", (ROOT / "cluster.yaml").read_text()))
    known = [instance_types.InstanceType(name) for name in sorted(used)]
    monkeypatch.setattr(instance_types.InstanceTypeBackend, "instance_types", known)
    with moto.mock_aws():
        yield


@pytest.fixture
def prepare_aws(monkeypatch: pytest.MonkeyPatch, account: None) -> ModuleType:
    """clusters/prepare_aws.py as a module."""
    spec = importlib.util.spec_from_file_location("prepare_aws", ROOT / "clusters/prepare_aws.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # moto does not hold the public parameters that name the images.
    monkeypatch.setattr(module, "newest_image", lambda ssm: IMAGE)
    return module


def edited(text: str, printed: list[str]) -> dict[str, Any]:
    """cluster.yaml with the printed lines in the place of those that are marked, as a user would do it."""
    for line in printed:
        key = line.split(":")[0]
        text, count = re.subn(rf"(?m)^{re.escape(key)}: .*# EDIT", line + " #", text)
        assert count == 1, f"no marked line for {key}"
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


@pytest.mark.parametrize("path", LAUNCHER_FILES, ids=lambda path: path.name)
def test_ray_accepts_the_file(path: Path) -> None:
    config = util.prepare_config(load(path))
    for node_type in config["available_node_types"].values():
        # On AWS Ray fills these from the instance types; only then does its validation hold.
        node_type.setdefault("resources", {"CPU": 1})
    util.validate_config(config)


def test_five_lines_at_most_are_to_be_edited() -> None:
    marked = re.findall(r"(?m)^.*# EDIT.*$", (ROOT / "cluster.yaml").read_text())
    assert 1 <= len(marked) <= 5


def test_the_printed_lines_give_a_cluster_that_ray_can_start(
    prepare_aws: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--region", REGION, "--bucket", "bucket", "--address", "203.0.113.7/32"]
    for _ in range(2):  # a second run finds everything made
        assert prepare_aws.main(arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[:5] == printed[5:]
    config = commands._bootstrap_config(edited((ROOT / "cluster.yaml").read_text(), printed[:5]), no_config_cache=True)

    head = config["available_node_types"]["head"]
    assert head["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]
    assert len(set(head["node_config"]["SubnetIds"])) >= 3, "several zones"
    for name, node_type in config["available_node_types"].items():
        assert node_type["node_config"]["ImageId"] == IMAGE
        assert node_type["node_config"]["IamInstanceProfile"] == {"Name": "raystudy"}
        if name != "head":
            assert node_type["resources"]["GPU"] == 8
            assert node_type["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}

    # Port 22 is open to the given address and nothing else is, in any group that exists now.
    groups = boto3.client("ec2", REGION).describe_security_groups()["SecurityGroups"]
    opened = [
        (permission.get("FromPort"), ip_range["CidrIp"])
        for group in groups
        for permission in group["IpPermissions"]
        for ip_range in permission["IpRanges"]
    ]
    assert opened == [(22, "203.0.113.7/32")]


def test_the_bucket_is_made_where_the_machines_are_and_closed_to_the_public(prepare_aws: ModuleType) -> None:
    s3 = boto3.client("s3", REGION)
    for _ in range(2):
        prepare_aws.ensure_bucket(s3, "bucket", REGION)
    assert s3.get_bucket_location(Bucket="bucket")["LocationConstraint"] == REGION
    closed = s3.get_public_access_block(Bucket="bucket")["PublicAccessBlockConfiguration"]
    assert len(closed) == 4
    assert all(closed.values())


def test_the_machines_may_use_the_one_bucket_and_pass_their_own_role_only(prepare_aws: ModuleType) -> None:
    iam = boto3.client("iam")
    prepare_aws.ensure_instance_profile(iam, "bucket")
    role = iam.get_role(RoleName="raystudy")["Role"]
    policies = iam.list_role_policies(RoleName="raystudy")["PolicyNames"]
    (document,) = [iam.get_role_policy(RoleName="raystudy", PolicyName=name)["PolicyDocument"] for name in policies]
    assert not iam.list_attached_role_policies(RoleName="raystudy")["AttachedPolicies"]
    for statement in document["Statement"]:
        for action in [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]:
            if action.startswith("s3:"):
                assert statement["Resource"].startswith("arn:aws:s3:::bucket")
            if action == "iam:PassRole":
                assert statement["Resource"] == role["Arn"]
            if action == "ec2:TerminateInstances":
                assert "aws:ResourceTag/ray-cluster-name" in json.dumps(statement["Condition"])


@pytest.mark.parametrize("path", LAUNCHER_FILES, ids=lambda path: path.name)
def test_every_process_names_its_token_mode_and_the_dashboard_stays_on_loopback(path: Path) -> None:
    config = load(path)
    starts = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    starts = [command for command in starts if "ray start" in command]
    assert len(starts) == 2
    assert all("export RAY_AUTH_MODE=token" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert "~/.ray/auth_token" in config["file_mounts"]
    assert any("RAY_AUTH_MODE=token" in command for command in config["setup_commands"]), "for logins"


@pytest.mark.parametrize("path", LAUNCHER_FILES, ids=lambda path: path.name)
def test_machines_install_exactly_the_tested_versions(path: Path) -> None:
    installs = [command for command in load(path)["setup_commands"] if "pip install" in command]
    assert installs
    assert all("-c ~/raystudy/constraints.txt" in command for command in installs)


def test_the_kubernetes_cluster_runs_the_tested_ray_with_a_token_and_no_trial_on_its_head() -> None:
    cluster, job = yaml.safe_load_all((ROOT / "clusters/kuberay.yaml").read_text())
    assert (cluster["kind"], job["kind"]) == ("RayCluster", "RayJob")
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    script = re.search(r"experiments/\w+\.py", job["spec"]["entrypoint"])
    assert script is not None
    assert (ROOT / script[0]).is_file()
    spec = cluster["spec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        assert container["image"] == "EDIT/raystudy"
        assert "memory" in container["resources"]["limits"]
    tested = re.search(r"(?m)^ray==(.+)$", (ROOT / "constraints.txt").read_text())
    assert tested is not None
    assert spec["rayVersion"] == tested[1]
    assert f"rayproject/ray:{tested[1]}" in (ROOT / "docker/cuda.Dockerfile").read_text()
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


SECRET_SHAPES = {
    "AWS access key": r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    "private key": r"-----BEGIN",
    "32 or more hex digits": r"\b[0-9a-fA-F]{32,}\b",
    "long random text": r"(?<![\w/.-])(?=[A-Za-z0-9+_]*\d)(?=[A-Za-z0-9+_]*[A-Z])[A-Za-z0-9+_]{30,}",
    "key = value": r"(?i)(api_?key|secret_?(access_?)?key|password|auth_token)\s*[:=]\s*['\"]?\w{8,}",
}


def secrets_in(text: str) -> list[str]:
    return [f"{kind}: {match[0]}" for kind, shape in SECRET_SHAPES.items() for match in re.finditer(shape, text)]


@pytest.mark.parametrize("path", ALL_FILES, ids=lambda path: path.name)
def test_no_secret_stands_in_the_file(path: Path) -> None:
    assert secrets_in(path.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "export AWS_ACCESS_KEY_ID=AKIA" + "ABCDEFGHIJKLMNOP",
        "export WANDB_API_KEY=" + "0123456789" * 4,
        "password: correcthorse",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ],
)
def test_a_secret_would_be_seen(line: str) -> None:
    assert secrets_in(line)
