"""The saved workspace holds the panels of the question, on the iteration axis, and shows trials only."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raystudy.cluster.tracked_runs import points, summary
from raystudy.cluster.tracking_view import save_view, workspace
from raystudy.store import Store
from tests.cluster.test_tracking import branch_of_2x
from tests.cluster.wandb_standin import ENTITY, Standin


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    import wandb

    with Standin() as standin:
        standin.use(monkeypatch)
        wandb.teardown()
        yield standin
        wandb.teardown()


def specification(study: str) -> dict[str, Any]:
    view = json.loads(workspace(study, ENTITY, "p")._to_model().model_dump_json(by_alias=True, exclude_none=True))
    found: dict[str, Any] = view["spec"]
    return found


def panels_of(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each panel's configuration by its title; the one without a title is the parameter importance."""
    sections = spec["section"]["panelBankConfig"]["sections"]
    panels = [panel for section in sections for panel in section["panels"]]
    return {panel["config"].get("chartTitle", panel["viewType"]): panel["config"] for panel in panels}


def test_each_panel_shows_what_it_is_named_after() -> None:
    panels = panels_of(specification("study"))
    curves = {
        "Box AP over iterations": ("iteration", ["val/box_ap"]),
        "Mask AP over iterations": ("iteration", ["val/mask_ap"]),
        "Training and validation loss": ("iteration", ["train/loss", "val/loss"]),
        "Box classification loss": ("iteration", ["train/loss_box_class", "val/loss_box_class"]),
        "Box AP over images seen": ("exposure/images", ["val/box_ap"]),
    }
    for title, (x, metrics) in curves.items():
        panel = panels.pop(title)
        assert (panel["xAxis"], panel["metrics"]) == (x, metrics), title
        assert (panel["groupBy"], panel["groupAgg"], panel["groupArea"]) == ("cell.value", "mean", "minmax"), title
    scatters = {
        "Final box AP over the length of the schedule": "config:schedule_total.value",
        "Final box AP over the share of the training images": "config:data_fraction.value",
    }
    for title, x in scatters.items():
        panel = panels.pop(title)
        assert (panel["xAxis"], panel["yAxis"]) == (x, "summary:final/box_ap"), title
    assert panels.pop("Parameter Importance")["targetKey"] == "final/box_ap"
    assert panels == {}


def test_panels_name_only_what_runs_hold() -> None:
    run, rows = branch_of_2x()
    held = {key for point in points(rows, run) for key in point} | {
        f"{split}/loss_box_class" for split in ("train", "val")
    }
    held |= {"val/mask_ap"}  # measured where there is a mask head
    for title, panel in panels_of(specification("study")).items():
        assert set(panel.get("metrics", [])) <= held, title
        if panel.get("xAxis", "").startswith("config:"):
            assert panel["xAxis"].removeprefix("config:").removesuffix(".value") in run.config, title
    assert run.config["cell"] == "2x"
    assert "final/box_ap" in summary(rows, run)


def test_only_trials_of_the_study_are_shown_best_first() -> None:
    spec = specification("study")
    (runs,) = spec["section"]["runSets"]
    shown = {item["key"]["name"]: item["value"] for item in runs["filters"]["filters"]}
    assert shown == {"jobType": "trial", "group": "study"}
    assert [key["name"] for key in runs["grouping"]] == ["cell.value"]
    assert runs["sort"]["keys"] == [{"key": {"section": "summary", "name": "final/box_ap"}, "ascending": False}]
    for section in spec["section"]["panelBankConfig"]["sections"]:
        assert section["localPanelSettings"]["xAxis"] == "iteration"
        assert section["localPanelSettings"]["smoothingType"] == "none"


def test_the_view_is_made_once_and_updated_after(server: Standin, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "storage", create=True)
    first = save_view(store, "study", ENTITY, "p")
    (view,) = server.views.values()
    assert panels_of(json.loads(view["spec"])) == panels_of(specification("study"))
    assert view["displayName"] == "raystudy study"
    view["spec"] = view["spec"].replace("Box AP over iterations", "what an older version drew")
    assert save_view(store, "study", ENTITY, "p") == first
    (view,) = server.views.values()
    assert "Box AP over iterations" in panels_of(json.loads(view["spec"]))
    assert save_view(store, "another", ENTITY, "p") != first
    assert server.unhandled == []
