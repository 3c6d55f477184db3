"""Workspace and report hold the panels of the question, on the iteration axis, and show trials only."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raystudy.cli import main
from raystudy.cluster.tracked_runs import points, summary
from raystudy.cluster.tracking_report import save_report
from raystudy.cluster.tracking_view import save_view, workspace
from raystudy.cluster.wandb_service import end_service
from raystudy.store import Store
from tests.cluster.test_tracking import branch_of_2x, study_record, two_schedules
from tests.cluster.wandb_standin import ENTITY, Standin


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    with Standin() as standin:
        standin.use(monkeypatch)
        end_service()
        yield standin
        end_service()


def specification(study: str) -> dict[str, Any]:
    view = json.loads(workspace(study, ENTITY, "p")._to_model().model_dump_json(by_alias=True, exclude_none=True))
    found: dict[str, Any] = view["spec"]
    return found


def panels_of(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each panel's configuration by its title, or by its type when it has none."""
    sections = spec["section"]["panelBankConfig"]["sections"]
    return by_title([panel for section in sections for panel in section["panels"]])


def by_title(panels: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {panel["config"].get("chartTitle", panel["viewType"]): panel["config"] for panel in panels}


def assert_panels_of_the_question(panels: dict[str, dict[str, Any]]) -> None:
    """Every panel shows what it is named after, and there is no other."""
    panels = dict(panels)
    curves = {
        "Box AP over iterations": ("iteration", ["val/box_ap"]),
        "Mask AP over iterations": ("iteration", ["val/mask_ap"]),
        "Training and validation loss": ("iteration", ["train/loss", "val/loss"]),
        "Box classification loss": ("iteration", ["train/loss_box_class", "val/loss_box_class"]),
        "Mask loss": ("iteration", ["train/loss_mask", "val/loss_mask"]),
        "Box AP over images seen": ("exposure/images", ["val/box_ap"]),
    }
    for title, (x, metrics) in curves.items():
        panel = panels.pop(title)
        assert (panel["xAxis"], panel["metrics"]) == (x, metrics), title
        assert (panel["groupBy"], panel["groupAgg"], panel["groupArea"]) == ("cell.value", "mean", "minmax"), title
    scatters = {
        "Final box AP over the length of the schedule": "config:schedule_total.value",
        "Final box AP over the share of the training images": "config:data_fraction.value",
        "Final box AP over the instances that were seen": "summary:exposure/instances",
    }
    for title, x in scatters.items():
        panel = panels.pop(title)
        assert (panel["xAxis"], panel["yAxis"]) == (x, "summary:final/box_ap"), title
    assert panels.pop("Parameter Importance")["targetKey"] == "final/box_ap"
    assert panels.pop("Validation pictures")["mediaKeys"] == [f"examples/{number}" for number in (1, 2, 3, 4)]
    assert '"categories"' in json.dumps(panels.pop("Weave")), "the table of the categories"
    assert panels == {}


def assert_trials_of(study: str, runs: dict[str, Any]) -> None:
    """The set of runs is the study's trials, best first, averaged over seeds."""
    shown = {item["key"]["name"]: (item["op"], item["value"]) for item in runs["filters"]["filters"]}
    assert shown == {"jobType": ("IN", ["trial", "search"]), "group": ("=", study)}
    assert [key["name"] for key in runs["grouping"]] == ["cell.value"]
    assert runs["sort"]["keys"] == [{"key": {"section": "summary", "name": "final/box_ap"}, "ascending": False}]


def test_each_panel_shows_what_it_is_named_after() -> None:
    assert_panels_of_the_question(panels_of(specification("study")))


def test_panels_name_only_what_runs_hold() -> None:
    run, rows = branch_of_2x()
    held = {key for point in points(rows, run) for key in point} | {
        f"{split}/{loss}" for split in ("train", "val") for loss in ("loss_box_class", "loss_mask")
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
    assert_trials_of("study", runs)
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


def test_a_view_that_somebody_has_deleted_is_made_again(server: Standin, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "storage", create=True)
    save_view(store, "study", ENTITY, "p")
    save_report(store, "study", "", ENTITY, "p")
    server.views.clear()
    server.reports.clear()
    save_view(store, "study", ENTITY, "p")
    save_report(store, "study", "", ENTITY, "p")
    assert (len(server.views), len(server.reports)) == (1, 1)


def test_a_service_that_was_not_told_to_end_is_left_to_itself_and_the_next_one_serves(
    server: Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def lose(*_: object) -> None:
        """What happens to the word when the service has closed the connection already."""

    store = Store.open(tmp_path / "storage", create=True)
    first = save_view(store, "study", ENTITY, "p")
    with monkeypatch.context() as patch:
        patch.setattr("wandb.sdk.lib.service.service_client.ServiceClient.publish", lose)
        assert not end_service(0.5)
    assert "has not ended within 0.5 s" in caplog.text
    assert save_view(store, "study", ENTITY, "p") == first
    assert end_service()


def test_the_report_shows_the_same_panels_with_words_and_is_made_once(server: Standin, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "storage", create=True)
    first = save_report(store, "study", "Does it pay?", ENTITY, "p")
    (kept,) = server.reports.values()
    assert (kept["displayName"], kept["description"]) == ("raystudy study", "Does it pay?")
    blocks = json.loads(kept["spec"])["blocks"]
    grids = [block["metadata"] for block in blocks if block["type"] == "panel-grid"]
    panels = [panel for grid in grids for panel in grid["panelBankSectionConfig"]["panels"]]
    assert_panels_of_the_question(by_title(panels))
    for grid in grids:
        (runs,) = grid["runSets"]
        assert_trials_of("study", runs)
        assert runs["project"]["name"] == "p"
        places = [(panel["layout"]["x"], panel["layout"]["y"]) for panel in grid["panelBankSectionConfig"]["panels"]]
        assert len(set(places)) == len(places), "panels do not cover each other"
    headings = [block for block in blocks if block["type"] == "heading"]
    assert len(headings) == len(grids), "each grid has its heading"

    kept["spec"] = kept["spec"].replace("Box AP over iterations", "what an older version drew")
    assert save_report(store, "study", "Does it pay?", ENTITY, "p") == first
    (kept,) = server.reports.values()
    assert "Box AP over iterations" in kept["spec"]
    assert server.unhandled == []


def test_the_command_makes_both_pages_and_says_where_they_are(
    server: Standin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(tmp_path / "storage", create=True)
    store.write_study("two-schedules", study_record(two_schedules()))
    command = ["wandb-view", str(tmp_path / "storage"), "--project"]
    assert main([*command, "p"]) == 2
    assert "p/ENTITY" in capsys.readouterr().err
    assert main([*command, f"p/{ENTITY}"]) == 0
    said = capsys.readouterr().out
    assert f"{server.url}/{ENTITY}/p?nw=" in said
    assert f"{server.url}/{ENTITY}/p/reports/" in said
    server.stop()
    assert main([*command, f"p/{ENTITY}"]) == 2
    assert "not reached" in capsys.readouterr().err
