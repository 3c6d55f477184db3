"""What a Ray cluster is at this moment, and what its autoscaler can make of it."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import PlacementGroupID
from ray._private.state import available_resources_per_node, state
from ray.util.placement_group import PlacementGroup

from raystudy.cluster.handover import end_key, put
from raystudy.cluster.room import Group, Machines, Resources

NESTED_PREFIX = "raystudy"
"""Of the names of placement groups of nested runs: ``raystudy/<job>/<actor that drives it>/<number>``."""

NO_ACTOR = "driver"
"""Instead of an actor's id: the job's own process drives the run."""

LAUNCHER_CONFIG = Path("~/ray_bootstrap_config.yaml")
"""Where `ray up` puts the cluster file on the head."""


def machines_now() -> Machines:
    """The machines of the cluster that we are connected to; what is about to go does not count."""
    leaving = set(state.get_draining_nodes())
    alive = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    total = {name: resources for name, resources in alive.items() if name not in leaving}
    groups = [group for group in _placement_groups().values() if group["state"] == "CREATED"]
    available = available_resources_per_node()
    free = {name: _left(resources, available.get(name, resources)) for name, resources in total.items()}
    for name, reserved in _reserved(groups).items():  # what Ray has granted this instant is not in its view yet
        if name in free:
            free[name] = _smaller(free[name], {kind: total[name].get(kind, 0.0) - reserved[kind] for kind in reserved})
    placed: dict[str, tuple[Group, ...]] = {}
    nested = set[str]()
    for group in groups:
        found = _as_group(group)
        if found is not None:
            job = job_of(group["placement_group_id"])
            placed[job] = (*placed.get(job, ()), found)
            if group["name"].startswith(f"{NESTED_PREFIX}/"):
                nested.add(job)
    return Machines(total=list(total.values()), free=list(free.values()), placed=placed, nested=frozenset(nested))


def job_of(identifier: str) -> str:
    """The job of a placement group, whose id ends with it."""
    return identifier[-8:]


def own_job() -> str:
    """The id of this process's job."""
    return str(ray.get_runtime_context().get_job_id())


def group_name(number: int) -> str:
    """The name of the placement group of a nested run that this process drives; no two are equal."""
    return f"{NESTED_PREFIX}/{own_job()}/{ray.get_runtime_context().get_actor_id() or NO_ACTOR}/{number}"


def free(name: str) -> None:
    """Give back what the placement group of that name holds, and end who works in it, if there is one."""
    for identifier, group in _placement_groups().items():
        if group["name"] == name and group["state"] != "REMOVED":
            _remove(identifier)


def let_go(idle: Collection[Group]) -> None:
    """Tell this job's workers that have no task to wait for none: those of groups of these shapes.

    Groups of such a shape that are at work end after their task, which costs them a start and nothing else.
    """
    for group in _placement_groups().values():
        is_own = group["name"].startswith(f"{NESTED_PREFIX}/{own_job()}/") and group["state"] == "CREATED"
        if is_own and _as_group(group) in idle:
            put(end_key(group["name"]), b"1")


def sweep() -> int:
    """Free what nested runs hold whose driving process is dead, of this job and of those that have ended; how many.

    Ray frees the resources of a run whose controller died while its workers were being started only when the whole
    job ends, and sometimes not even then.
    """
    held = []
    for identifier, group in _placement_groups().items():
        prefix, job, actor = ([*group["name"].split("/"), "", "", ""])[:3]
        if prefix == NESTED_PREFIX and group["state"] != "REMOVED":
            held.append((identifier, job, actor))
    if not held:
        return 0
    dead_jobs = {job["JobID"] for job in state.job_table() if job["IsDead"]}
    own = own_job()
    alive = {NO_ACTOR, *state.actor_table(None, ray.JobID.from_hex(own), "ALIVE")}
    dead = [identifier for identifier, job, actor in held if job in dead_jobs or (job == own and actor not in alive)]
    for identifier in dead:
        _remove(identifier)
    return len(dead)


def _remove(identifier: str) -> None:
    ray.util.remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(identifier)))


@dataclass(frozen=True, slots=True)
class Growth:
    """What an autoscaler can add."""

    machines: tuple[Resources, ...] | None
    """Of the largest cluster that it may make, without the machines of the head's kind; None where nobody knows."""


def growth() -> Growth | None:
    """What the autoscaler of the cluster can make of it; None where there is none.

    Read on the head, where a study's own process runs: from the file that Ray's monitor was started with.
    """
    path = _autoscaling_config()
    if path is not None:
        return Growth(machines=largest(_read_yaml(path)))
    if "KUBERAY_GEN_RAY_START_CMD" in os.environ:  # a pod; whether its RayCluster scales is known outside only
        return Growth(machines=None)
    return None


def largest(config: Mapping[str, Any]) -> tuple[Resources, ...] | None:
    """The workers of the largest cluster that a cluster file allows; None where it does not say what they have."""
    types = config.get("available_node_types", {})
    workers = {name: kind for name, kind in types.items() if name != config.get("head_node_type")}
    if not workers or any(not kind.get("resources") for kind in workers.values()):
        return None
    most = config.get("max_workers", 2)  # Ray's own default
    found: list[Resources] = []
    for kind in workers.values():
        found += [kind["resources"]] * min(most, kind.get("max_workers", most))
    found.sort(key=lambda machine: (-machine.get("GPU", 0.0), -machine.get("CPU", 0.0)))
    return tuple(found[:most])


def _autoscaling_config() -> Path | None:
    """The cluster file of the monitor that serves our cluster and runs on this machine."""
    address = ray.get_runtime_context().gcs_address
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        config = next((word.partition("=")[2] for word in words if word.startswith("--autoscaling-config=")), "")
        if config and any(word.endswith("monitor.py") for word in words) and f"--gcs-address={address}" in words:
            return Path(config).expanduser()
    launcher = LAUNCHER_CONFIG.expanduser()
    return launcher if launcher.is_file() and os.environ.get("RAY_ADDRESS") else None


def _read_yaml(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _placement_groups() -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = ray.util.placement_group_table()
    return table


def _as_group(group: Mapping[str, Any]) -> Group | None:
    """A placement group of equal bundles with CPUs; None for any other, such as the place of a driver on the head."""
    bundles = list(group["bundles"].values())
    first = bundles[0]
    if any(bundle != first for bundle in bundles) or not first.get("CPU"):
        return None
    return Group(workers=len(bundles), cpus=first["CPU"], gpus=first.get("GPU", 0.0))


def _reserved(groups: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """What placement groups hold, by machine."""
    found: dict[str, dict[str, float]] = {}
    for group in groups:
        for number, bundle in group["bundles"].items():
            on_machine = found.setdefault(group["bundles_to_node_id"].get(number, ""), {})
            for kind, amount in bundle.items():
                on_machine[kind] = on_machine.get(kind, 0.0) + amount
    return found


def _left(total: Resources, available: Resources) -> dict[str, float]:
    """Ray leaves out what is used up."""
    return {kind: available.get(kind, 0.0) for kind in total}


def _smaller(one: Resources, other: Resources) -> dict[str, float]:
    return {kind: min(amount, other.get(kind, amount)) for kind, amount in one.items()}
