"""clusters/on-prem.yaml on three machines, as the page says: one dies and one is cut off; the result is the same."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real_cluster.hosts import LAPTOP, ROOT, Hosts, network, what_is_missing
from tests.real_cluster.ray_cluster import FAST_HEALTH_CHECK, Cluster
from tests.real_cluster.steps import Laptop, commands_of_page, replaced, step, wait_until
from tests.real_cluster.study import Study, Undisturbed

pytestmark = pytest.mark.skipif(bool(what_is_missing()), reason=f"SKIPPED real clusters: {what_is_missing()}")

HEAD = "10.77.0.11"
WORKERS = ("10.77.0.12", "10.77.0.13")
UNDISTURBED = "10.77.0.20"
ADDRESSES = {f"ray-{address[-2:]}": address for address in (HEAD, *WORKERS)}
UNIT = 90
"""Iterations of 1x: so many that a trunk outlasts the time after which a machine counts as dead."""

FILE = ROOT / "clusters" / "on-prem.yaml"

RESOURCES = "--num-cpus=1 --object-store-memory=100000000"


def rewritten() -> str:
    """The file with our addresses, login and resources, and with packages that are there already."""
    return replaced(
        FILE.read_text(),
        {
            "head_ip: 192.168.0.10 ": f"head_ip: {HEAD} ",
            "[192.168.0.11, 192.168.0.12]": f"[{', '.join(WORKERS)}]",
            "ssh_user: ubuntu": "ssh_user: root",
            "pip install -q -c ~/raystudy/constraints.txt -e ~/raystudy": "python -c 'import ray'",
            "ray start --head": f"{FAST_HEALTH_CHECK}ray start --head {RESOURCES}",
            "ray start --address": f"ray start {RESOURCES} --address",
        },
    )


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """A laptop, three machines, and one apart for the undisturbed run."""
    with network() as made:
        with step("boot five machines", limit=30):
            made.boot(LAPTOP, "laptop", project=True, private_key=True)
            for name, address in ADDRESSES.items():
                made.boot(address, name)
            made.boot(UNDISTURBED, "undisturbed", project=True)
        made.overlay(LAPTOP, FILE, rewritten())
        yield made


def lines_of_page(storage: Path) -> dict[str, str]:
    """What the page says to type, by its second word, with the small preset and our storage."""
    changes = {
        "--preset paper --data /shared/coco --weights resnet50_gn.pth": f"--preset smoke --unit {UNIT}",
        "/shared/study": str(storage),
        "ray up ": "ray up -y --no-config-cache ",
        "ray down ": "ray down -y ",
        "ubuntu@": "root@",
        "192.168.0.11 192.168.0.12": "$WORKERS",
    }
    page = "\n".join(commands_of_page(ROOT / "docs" / "cluster.md", "On machines that you have"))
    return {line.split()[1].split("=")[0]: line for line in replaced(page, changes).splitlines()}


def test_a_study_survives_a_dead_machine_and_one_that_was_cut_off(hosts: Hosts) -> None:
    storage, reference = hosts.shared / "study", hosts.shared / "undisturbed"
    laptop, page = Laptop(hosts), lines_of_page(storage)
    cluster = Cluster(hosts, laptop, apart=[UNDISTURBED])
    undisturbed = Undisturbed(hosts, UNDISTURBED, page["job"], str(storage), str(reference))

    laptop.type(page["get-auth-token"], limit=60)
    laptop.type(page["600"], limit=10)
    for name in ("RAY_AUTH_MODE", "RAY_UP_enable_autoscaler_v2"):
        laptop.type(page[name], limit=1)
    laptop.type(page["doctor"], limit=120)
    laptop.type(page["up"], limit=240)
    cluster.open_tunnel(page["dashboard"])
    cluster.wait_for_nodes(3, limit=240)
    cluster.assert_strangers_are_refused(HEAD)
    laptop.type(page["RAY_ADDRESS"], limit=1)
    laptop.type(page["job"], limit=180)
    cluster.close_tunnel()  # the user goes home

    study = Study(laptop, str(storage), cluster.logs)
    victim = study.wait_for_mid_trial([name for name, address in ADDRESSES.items() if address in WORKERS])
    with step(f"{victim.host} dies at iteration {victim.committed} of {victim.segment}", limit=5):
        hosts.kill(ADDRESSES[victim.host])
    study.wait_until_moved_on(victim, limit=400)

    victim = study.wait_for_mid_trial([n for n, a in ADDRESSES.items() if a in WORKERS and hosts.is_up(a)])
    with step(f"{victim.host} is cut off at iteration {victim.committed} of {victim.segment}", limit=5):
        hosts.cut(ADDRESSES[victim.host])
    study.wait_until_moved_on(victim, limit=400)
    hosts.heal(ADDRESSES[victim.host])

    cluster.open_tunnel(page["dashboard"])
    cluster.wait_for_nodes(2, limit=180)
    cluster.wait_for_job(limit=480)
    print(laptop.run(page["status"], limit=60))
    laptop.type(page["report"], limit=180)
    assert (storage / "reports" / "schedule_length" / "report.html").is_file()
    cluster.close_tunnel()
    laptop.type(page["down"], limit=120)
    laptop.environment["WORKERS"] = f"'{' '.join(address for address in WORKERS if hosts.is_up(address))}'"
    laptop.type(page["worker"], limit=60)
    wait_until("nothing is left running", lambda: not cluster.left(), limit=60, logs=lambda: "\n".join(cluster.left()))

    undisturbed.wait(300)
    study.assert_same_bits(str(reference))
