"""The gate around the arithmetic: what the autoscaler is asked for, what is refused, how long is waited."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from raystudy.cluster import gate as gate_module
from raystudy.cluster.gate import Gate, Keeper, check_fits
from raystudy.cluster.machines import Growth, largest
from raystudy.cluster.room import LIFE_S, Group, Machines, Standing
from raystudy.cluster.tuner import with_device
from tests.tiny_trials import settings

TWO = Group(2, 1)
GPUS = Group(8, cpus=4, gpus=1)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[dict[str, float]]]:
    found: list[list[dict[str, float]]] = []

    def request(bundles: list[dict[str, float]]) -> None:
        found.append(bundles)

    monkeypatch.setattr("ray.autoscaler.sdk.request_resources", request)
    return found


def _cluster(monkeypatch: pytest.MonkeyPatch, *machines: dict[str, float], growth: Growth | None = None) -> None:
    now = Machines(total=machines, free=machines)
    monkeypatch.setattr(gate_module, "machines_now", lambda: now)
    monkeypatch.setattr(gate_module, "growth", lambda: growth)


def test_the_autoscaler_is_asked_for_what_runs_and_what_is_ready_of_all_studies_and_again_when_it_changes(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _cluster(monkeypatch)
    keeper = Keeper()
    keeper.renew(Standing("one", ready=(TWO,)))
    keeper.renew(Standing("one", ready=(TWO,)))
    assert not keeper.may_start(Standing("two", flying=(TWO,), ready=(TWO,)), TWO)
    keeper.leave("one")
    keeper.leave("two")
    assert [len(bundles) for bundles in asked] == [2, 6, 4, 0]
    assert asked[0] == [{"CPU": 1.0}] * 2


def test_the_request_of_a_study_that_died_is_withdrawn(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    _cluster(monkeypatch)
    keeper, now = Keeper(), [0.0]
    keeper._room._clock = lambda: now[0]
    keeper.renew(Standing("dead", ready=(TWO,)))
    assert not keeper.is_idle()
    now[0] = LIFE_S + 1
    assert keeper.is_idle()
    assert asked[-1] == []


def test_what_no_cluster_of_this_kind_will_hold_is_refused_with_the_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    _cluster(monkeypatch, {"CPU": 16.0, "GPU": 4.0})
    with pytest.raises(
        gate_module.ClusterError, match=r"needs 32 CPU, 8 GPU, but the cluster has 1 x \(16 CPU, 4 GPU\)"
    ):
        check_fits(GPUS)
    _cluster(monkeypatch, growth=Growth(machines=({"CPU": 16.0, "GPU": 4.0},)))
    with pytest.raises(gate_module.ClusterError, match="at its largest"):
        check_fits(GPUS)


def test_what_the_cluster_may_grow_to_hold_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _cluster(monkeypatch, {"node:__internal_head__": 1.0}, growth=Growth(machines=({"CPU": 16.0, "GPU": 4.0},) * 2))
    check_fits(GPUS)
    _cluster(monkeypatch, growth=Growth(machines=None))
    check_fits(GPUS)


def test_the_largest_cluster_is_read_from_the_cluster_file() -> None:
    def kind(gpus: float, most: int) -> dict[str, Any]:
        return {"resources": {"CPU": 8, "GPU": gpus}, "max_workers": most}

    types = {"head": {"resources": {"CPU": 0}}, "small": kind(1, 9), "large": kind(8, 1)}
    config = {"available_node_types": types, "head_node_type": "head", "max_workers": 3}
    found = largest(config)
    assert found is not None
    assert [machine["GPU"] for machine in found] == [8, 1, 1]
    assert largest({"provider": {"type": "local", "worker_ips": ["10.0.0.2"]}}) is None
    types["unknown"] = {"node_config": {"InstanceType": "g6.xlarge"}}
    assert largest(config) is None


def test_workers_that_are_not_wanted_now_are_let_go(
    tmp_path: Path, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_module, "own_job", lambda: "me")
    monkeypatch.setattr(gate_module, "sweep", lambda: 0)
    gone: list[Any] = []
    monkeypatch.setattr(gate_module, "let_go", gone.append)
    one, full = Group(1, 1), [{"CPU": 2.0}]
    held = Machines(total=full, free=[{"CPU": 0.0}], placed={"me": (one, one)}, nested=frozenset({"me"}))
    keeper = Keeper()
    gate = Gate(lambda question, *arguments: getattr(keeper, question)(*arguments), settings(tmp_path / "s"))
    monkeypatch.setattr(gate_module, "machines_now", lambda: held)
    assert not gate.admits(TWO, [one], [TWO])
    assert gone == [[one]]
    monkeypatch.setattr(gate_module, "machines_now", lambda: dataclasses.replace(held, nested=frozenset()))
    assert not gate.admits(TWO, [], [TWO])
    assert gone == [[one]]  # Tune's own processes are not ours to end


def test_a_cluster_that_stays_too_small_ends_the_wait_and_one_that_is_busy_does_not(
    tmp_path: Path, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_module, "own_job", lambda: "me")
    monkeypatch.setattr(gate_module, "sweep", lambda: 0)
    monkeypatch.setattr(gate_module, "PAUSE_S", 0.0)
    now = [0.0]
    monkeypatch.setattr(gate_module.time, "monotonic", lambda: now[0])
    keeper = Keeper()
    given = dataclasses.replace(settings(tmp_path / "s"), wait_minutes=1.0)
    gate = Gate(lambda question, *arguments: getattr(keeper, question)(*arguments), given)
    monkeypatch.setattr(gate_module, "machines_now", lambda: Machines(total=[{"CPU": 2.0}], free=[{"CPU": 0.0}]))
    for now[0] in (0, 100):  # there is a machine, which others use
        assert not gate.admits(TWO, [], [TWO])
    _cluster(monkeypatch, {"CPU": 1.0})
    for now[0] in (200, 259):
        assert not gate.admits(TWO, [], [TWO])
    now[0] = 261
    with pytest.raises(gate_module.ClusterError, match="for 1 minutes the cluster has"):
        gate.admits(TWO, [], [TWO])


@pytest.mark.parametrize(
    ("there", "coming", "device"),
    [
        ([{"CPU": 4.0}], None, "cpu"),
        ([{"CPU": 4.0}, {"CPU": 4.0, "GPU": 1.0}], None, "cuda"),
        ([{"node:__internal_head__": 1.0}], Growth(machines=({"CPU": 8.0, "GPU": 8.0},)), "cuda"),
        ([{"node:__internal_head__": 1.0}], Growth(machines=({"CPU": 8.0},)), "cpu"),
        ([{"CPU": 4.0}], Growth(machines=None), "cpu"),
        ([{"node:__internal_head__": 1.0}], Growth(machines=None), None),
    ],
)
def test_the_device_is_that_of_machines_that_are_there_or_may_come(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: list[dict[str, float]],
    coming: Growth | None,
    device: str | None,
) -> None:
    monkeypatch.setattr("raystudy.cluster.machines.machines_now", lambda: Machines(total=there))
    monkeypatch.setattr("raystudy.cluster.machines.growth", lambda: coming)
    given = settings(tmp_path / "s")
    asked = dataclasses.replace(given, device="auto")
    if device is None:
        with pytest.raises(gate_module.ClusterError, match="--device"):
            with_device(asked)
    else:
        assert with_device(asked).device == device
    assert with_device(dataclasses.replace(given, device="cuda")).device == "cuda"
