"""cluster.yaml against a stand-in for AWS, as the page says: machines come on demand, one is taken back, all go."""

import re
from collections.abc import Iterator

import pytest

from tests.real_cluster.fake_cloud import ENVIRONMENT, PORT, FakeCloud
from tests.real_cluster.hosts import LAPTOP, ROOT, Hosts, network, what_is_missing
from tests.real_cluster.ray_cluster import FAST_HEALTH_CHECK, Cluster
from tests.real_cluster.steps import Laptop, commands_of_page, replaced, step, tail, wait_until
from tests.real_cluster.study import Study, Undisturbed

pytestmark = pytest.mark.skipif(bool(what_is_missing()), reason=f"SKIPPED real clusters: {what_is_missing()}")

UNDISTURBED = "10.77.0.20"
FILE = ROOT / "cluster.yaml"
RESOURCES = "--object-store-memory=100000000"
STUDY = "--preset smoke --unit 90 --schedules 2 --inits random --seeds 2 --device cpu"


def rewritten(printed: list[str]) -> str:
    """The file with the lines that the page has us edit, our login and resources, and packages that are there."""
    text = FILE.read_text()
    for line in printed:
        text, count = re.subn(rf"(?m)^{re.escape(line.split(':')[0])}: .*# EDIT", f"{line}  #", text)
        assert count == 1, f"no marked line for {line}"
    # A machine of 8 GPUs and 192 cores is one core here; nobody can reach it from outside.
    text = re.sub(r"(?m)^    priority: .*$", r"\g<0>\n    resources: {CPU: 1}", text)
    return replaced(
        text,
        {
            "  type: aws\n": "  type: aws\n  use_internal_ips: true\n",
            "ssh_user: ubuntu": "ssh_user: root",
            "idle_timeout_minutes: 5": "idle_timeout_minutes: 0.5",
            "pip install -q -c ~/raystudy/constraints.txt -e ~/raystudy[aws]": "python -c 'import ray'",
            "ray start --head": f"{FAST_HEALTH_CHECK}ray start --head {RESOURCES}",
            "ray start --address": f"ray start {RESOURCES} --address",
        },
    )


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """A laptop, and a machine apart for the undisturbed run."""
    with network() as made:
        with step("boot two machines", limit=30):
            made.boot(LAPTOP, "laptop", project=True)
            made.boot(UNDISTURBED, "undisturbed", project=True)
        yield made


@pytest.fixture
def laptop(hosts: Hosts) -> Laptop:
    """The user's, with an account."""
    made = Laptop(hosts)
    made.environment.update(ENVIRONMENT)
    return made


@pytest.fixture
def cloud(hosts: Hosts, laptop: Laptop) -> Iterator[FakeCloud]:
    """AWS."""
    file = hosts.folder / "machines.json"
    command = f"python -m tests.real_cluster.stand_in_for_aws {LAPTOP} {PORT} {file}"
    _, log = laptop.start(command)
    wait_until("the stand-in for AWS answers", file.exists, limit=60, logs=lambda: tail(log))
    made = FakeCloud(hosts, file)
    yield made
    made.close()


def lines_of_page() -> dict[str, str]:
    """What the page says to type, by its second word, with the small preset."""
    changes = {
        "--preset paper --data s3://my-bucket/coco --weights resnet50_gn.pth": STUDY,
        "--bucket my-bucket": f"--bucket my-bucket --address {LAPTOP}/32",
        "ray up ": "ray up -y --no-config-cache ",
        "ray down ": "ray down -y ",
    }
    page = "\n".join(commands_of_page(ROOT / "docs" / "cluster.md", "On AWS, line by line"))
    return {line.split()[1].split("=")[0]: line for line in replaced(page, changes).splitlines()}


def test_machines_come_on_demand_one_is_taken_back_and_all_go(hosts: Hosts, laptop: Laptop, cloud: FakeCloud) -> None:
    page, storage, reference = lines_of_page(), "s3://my-bucket/study", str(hosts.shared / "undisturbed")
    cluster = Cluster(hosts, laptop, apart=[UNDISTURBED])
    undisturbed = Undisturbed(hosts, UNDISTURBED, page["job"], storage, reference)

    printed = laptop.type(page["clusters/prepare_aws.py"], limit=60).splitlines()
    hosts.overlay(LAPTOP, FILE, rewritten(printed))
    for name, limit in (("get-auth-token", 60), ("600", 10), ("RAY_AUTH_MODE", 1), ("doctor", 120), ("up", 300)):
        laptop.type(page[name], limit=limit)
    assert len(cloud.machines(market="on-demand")) == 1
    assert cloud.machines(market="spot") == [], "nobody has asked for any yet"
    cluster.open_tunnel(page["dashboard"])
    cluster.assert_strangers_are_refused(cloud.machines()[0]["address"])
    laptop.type(page["RAY_ADDRESS"], limit=1)
    laptop.type(page["job"], limit=180)
    cluster.close_tunnel()  # the user goes home

    study = Study(laptop, storage, cluster.logs)
    wait_until("two spot machines run", lambda: len(cloud.machines(market="spot")) == 2, limit=300, logs=cluster.logs)
    assert {machine["type"] for machine in cloud.machines(market="spot")} == {"g6.48xlarge"}, "the first by priority"
    names = {f"ip-{machine['address'].replace('.', '-')}": machine for machine in cloud.machines(market="spot")}
    victim = study.wait_for_mid_trial(names, limit=300)
    taken = names[victim.host]
    take = f"import boto3; boto3.client('ec2').terminate_instances(InstanceIds=['{taken['id']}'])"
    laptop.run(f'python -c "{take}"', limit=30)
    study.wait_until_moved_on(victim, limit=300)
    replacement = [one for one in cloud.machines(market="spot") if one["id"] not in {m["id"] for m in names.values()}]
    print(f"in its place: {replacement}")

    cluster.open_tunnel(page["dashboard"])
    cluster.wait_for_job(limit=480)
    print(laptop.type(page["status"], limit=90))
    laptop.type(page["report"], limit=180)
    wait_until("idle machines go", lambda: not cloud.machines(market="spot"), limit=240, logs=cluster.logs)
    cluster.close_tunnel()
    laptop.type(page["down"], limit=180)
    wait_until("no machine is left", lambda: not cloud.machines(), limit=60)
    wait_until("and none of their processes", lambda: not cluster.left(), limit=60)

    undisturbed.wait(300)
    study.assert_same_bits(reference)
