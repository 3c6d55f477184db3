"""A study that was really trained shows its pictures, tables and weights, each once, and what they were made from."""

import dataclasses
import json
import shutil
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from raystudy.cli import main
from raystudy.cluster.settings import RunSettings
from raystudy.cluster.tracked_runs import TrackedRun, points, tracked_runs
from raystudy.cluster.tracking import TrackingSettings, open_tracker
from raystudy.cluster.tracking_media import PICTURE_KEYS, TABLE_KEY, with_media
from raystudy.cluster.tracking_sync import ended_runs
from raystudy.cluster.tracking_wandb import upload
from raystudy.cluster.wandb_service import end_service
from raystudy.cluster.worker import run_segment
from raystudy.records import TrialState
from raystudy.spec.plan import Plan, make_plan
from raystudy.spec.schedule import Drop, ScheduleSpec
from raystudy.spec.study import Axis, Level, StudySpec
from raystudy.store import Store
from tests.cluster.test_tracking import study_record
from tests.cluster.wandb_standin import ServedRun, Standin
from tests.cluster.without_ray import FakeRun
from tests.tiny_trials import settings, tiny_trial


def study() -> StudySpec:
    """``flat`` ends inside the trunk at 4; ``dropped`` leaves it at 6 and ends at 8."""
    flat = ScheduleSpec(total=4, drops=(), warmup_iterations=2, label="flat")
    dropped = ScheduleSpec(total=8, drops=(Drop(before_end=2),), warmup_iterations=2, label="dropped")
    levels = tuple(Level(name=spec.label, overrides={"schedule": spec}) for spec in (flat, dropped))
    return StudySpec(name="tiny", base=tiny_trial(), axes=(Axis(name="schedule", levels=levels),))


@dataclasses.dataclass
class Trained:
    """A study that was trained with W&B on, and the server that it was shown on."""

    server: Standin
    plan: Plan
    store: Store
    settings: RunSettings
    runs: dict[str, tuple[TrackedRun, ...]]

    def trial(self, label: str) -> TrackedRun:
        (run,) = (r for fed in self.runs.values() for r in fed if r.config.get("schedule") == label)
        return run

    def tracking(self, folder: Path, **changes: Any) -> TrackingSettings:
        assert self.settings.tracking is not None
        return dataclasses.replace(self.settings.tracking, folder=str(folder), **changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("media")
    with pytest.MonkeyPatch.context() as patch, Standin() as server:
        server.use(patch)
        end_service()
        tracking = TrackingSettings(project="p", folder=str(folder), weights=True, init_timeout_s=30)
        given = dataclasses.replace(settings(folder / "s"), tracking=tracking)
        store, plan = Store.open(given.storage), make_plan(study().trials())
        store.write_study("tiny", study_record(study()))
        runs = tracked_runs(study_record(study()), plan)
        for segment in plan.segments:
            run_segment(segment, given, FakeRun(), runs[segment.segment_id])
        yield Trained(server, plan, store, given, runs)
        end_service()


def shown(run: ServedRun) -> list[tuple[int, str]]:
    """What is shown beside numbers: iteration and key."""
    keys = (*PICTURE_KEYS, TABLE_KEY)
    return [(point["iteration"], key) for point in run.history for key in keys if key in point]


def expected(iterations: tuple[int, ...], end: int) -> list[tuple[int, str]]:
    pictures = [(iteration, key) for iteration in iterations for key in PICTURE_KEYS]
    return [*pictures, (end, TABLE_KEY)]


def content_of(run: ServedRun, media: dict[str, Any]) -> Any:
    return json.loads(run.files[media["path"]])


def numbers(run: ServedRun) -> list[dict[str, Any]]:
    """The points without wandb's columns and without pictures and tables."""
    left_out = {*PICTURE_KEYS, TABLE_KEY}
    return [{k: v for k, v in p.items() if k[0] != "_" and k not in left_out} for p in run.history]


def test_every_run_is_there_with_all_its_rows_while_training_also_that_which_ends_in_a_trunk(trained: Trained) -> None:
    """No sync has run: the trials' own processes and the trunk's have told everything."""
    found = {run.run_id: (run, rows) for run, rows, _, _ in ended_runs(trained.store, "tiny")}
    assert set(found) == set(trained.server.runs)
    assert len(found) == 3
    for run_id, (run, rows) in found.items():
        served = trained.server.runs[run_id]
        assert numbers(served) == list(points(rows, run)), run_id
        assert (served.exit_code, served.summary["state"]) == (0, "complete")
    assert trained.server.unhandled == []
    flat = trained.server.runs[trained.trial("flat").run_id]
    assert [point["in_trunk"] for point in flat.history] == [1, 1]
    assert "cost/worker_hours" not in flat.summary, "its trunk bears the cost"


def test_pictures_are_shown_at_few_evaluations_and_at_the_end_in_the_call_of_the_row(trained: Trained) -> None:
    runs = trained.server.runs
    assert sorted(shown(runs[trained.trial("flat").run_id])) == sorted(expected((2, 4), 4))
    assert sorted(shown(runs[trained.trial("dropped").run_id])) == sorted(expected((2, 4, 8), 8))
    (trunk,) = (run for run in runs.values() if run.job_type == "trunk")
    assert shown(trunk) == [], "its trials show them"


def test_a_picture_has_annotated_and_found_objects_with_labels_scores_and_masks(trained: Trained) -> None:
    run = trained.trial("dropped")
    served = trained.server.runs[run.run_id]
    kept = _examples(trained.store, run.segment_id, 8)
    for record, key in zip(kept[1]["pictures"], PICTURE_KEYS, strict=False):
        image = served.history[-1][key]
        assert (image["_type"], image["caption"]) == ("image-file", record["name"])
        assert served.files[image["path"]] == (kept[0] / record["file"]).read_bytes()
        for layer, instances in (("ground_truth", record["objects"]), ("predictions", record["detections"])):
            drawn = content_of(served, image["boxes"][layer])
            assert drawn["class_labels"]["1"] == kept[1]["categories"][0]
            assert [box["class_id"] for box in drawn["box_data"]] == [one["label"] for one in instances]
            scores = [box["scores"]["score"] for box in drawn["box_data"] if "scores" in box]
            assert scores == [one["score"] for one in instances if "score" in one]
            first = drawn["box_data"][0]["position"] if instances else None
            assert first is None or [first[k] for k in ("minX", "minY", "maxX", "maxY")] == instances[0]["box"]
        assert served.files[image["masks"]["ground_truth"]["path"]].startswith(b"\x89PNG")


def test_the_table_has_the_ap_of_every_category_that_the_row_has_the_mean_of(trained: Trained) -> None:
    run = trained.trial("flat")
    served = trained.server.runs[run.run_id]
    table = content_of(served, served.history[-1][TABLE_KEY])
    assert table["columns"] == ["category", "box_ap", "box_ap50", "mask_ap", "mask_ap50", "instances"]
    kept = _examples(trained.store, run.last_segment, 4)
    assert [line[0] for line in table["data"]] == kept[1]["categories"]
    measured = [line[1] for line in table["data"] if line[1] is not None]
    assert np.mean(measured) == pytest.approx(served.summary["final/box_ap"])
    from raystudy.data.splits import open_split

    truth = open_split(trained.plan.trials[run.run_id].data, "val")
    assert sum(line[-1] for line in table["data"]) == len(truth.all_labels())


def test_the_final_weights_are_there_with_what_they_were_made_from(trained: Trained) -> None:
    import io

    import torch

    artifacts = list(trained.server.artifacts.values())
    for label, end in (("flat", 4), ("dropped", 8)):
        run = trained.trial(label)
        (artifact,) = (a for a in artifacts if a.kind == "detector" and a.logged_by == run.run_id)
        assert artifact.is_committed
        assert "final" in artifact.aliases
        assert artifact.metadata["iteration"] == end
        data = trained.plan.trials[run.run_id].data
        assert artifact.metadata["inputs"]["dataset"]["train_checksum"] == data.train_checksum
        content = torch.load(io.BytesIO(artifact.files["detector.pt"]), weights_only=True)
        checkpoint = trained.store.segment(run.last_segment).load(end)
        state = torch.load(checkpoint / "state.pt", weights_only=True)["model"]
        assert set(content["model"]) == set(state)
        assert all(torch.equal(content["model"][name], value) for name, value in state.items())
    (dataset,) = (a for a in artifacts if a.kind == "dataset")
    assert dataset.used_by == {trained.trial("flat").run_id, trained.trial("dropped").run_id}


def test_the_config_says_where_a_run_comes_from(trained: Trained) -> None:
    for served in trained.server.runs.values():
        config = {
            key: entry["value"] for key, entry in served.config.items() if isinstance(entry, dict) and "value" in entry
        }
        assert config["commit"] == "abc1234"
        assert config["provenance_versions_torch"] == version("torch")
        assert config["device"] == "cpu"
        assert config["data_train_checksum"].startswith("shapes-train-")
        assert config["model_norm"] == "gn"
    summary = trained.server.runs[trained.trial("dropped").run_id].summary
    assert summary["cost/gpu_hours"] == 0
    assert summary["cost/worker_hours"] > 0
    assert summary["exposure/images"] == 16
    assert {"final/box_ap", "best/box_ap", "best/box_ap_iteration"} <= set(summary)


def test_everything_is_rebuilt_in_new_runs_and_the_old_ones_go(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = shutil.copytree(trained.store.scratch, tmp_path / "copy")
    command = ["wandb-sync", str(storage), "--project", "p"]
    with Standin() as server:
        server.use(monkeypatch)
        end_service()
        assert main(command) == 0
        old = dict(server.runs)
        assert set(old) == set(trained.server.runs)
        meddled = trained.trial("flat").run_id
        server.runs[meddled].summary["final/box_ap"] = 99.0
        assert main([*command, "--rebuild", "--study", "tiny"]) == 2
        assert "leave --study out" in capsys.readouterr().err
        assert main([*command, "--rebuild"]) == 0
        assert capsys.readouterr().out.count("replaced and deleted") == len(old)
        assert server.deleted == set(old)
        assert set(server.runs) == {f"{run_id}-r2" for run_id in old}
        for run_id, before in old.items():
            anew = server.runs[f"{run_id}-r2"]
            assert numbers(anew) == numbers(before) == numbers(trained.server.runs[run_id])
            assert sorted(shown(anew)) == sorted(shown(before)) == sorted(shown(trained.server.runs[run_id]))
            assert (anew.display_name, anew.job_type, anew.tags) == (run_id, before.job_type, before.tags)
        assert server.runs[f"{meddled}-r2"].summary["final/box_ap"] != 99.0
        assert main(command) == 0
        said = capsys.readouterr().out
        assert said.count(": 0 new points") == len(old)
        assert "deleted" not in said
        assert server.unhandled == []
        end_service()


@pytest.mark.parametrize("mode", ["unavailable", "hanging"])
def test_a_server_that_is_away_when_the_weights_come_holds_the_end_up_for_its_bounds_only(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Literal["unavailable", "hanging"]
) -> None:
    monkeypatch.setenv("WANDB_HTTP_TIMEOUT", "2")  # of each of wandb's own questions
    with Standin() as server:
        server.use(monkeypatch)
        end_service()
        run = trained.trial("dropped")
        rows = [
            row for found, rows, _, _ in ended_runs(trained.store, "tiny") if found.run_id == run.run_id for row in rows
        ]
        given = trained.tracking(tmp_path, finish_timeout_s=3)
        tracker = open_tracker(given, [dataclasses.replace(run, earlier=())], trained.store)
        tracker.log([row for row in rows if row.iteration < 8])
        server.break_down(mode)
        start = time.perf_counter()
        tracker.log(rows)
        tracker.finish(TrialState.COMPLETE)
        assert (
            time.perf_counter() - start < 3 + 3 + 4
        )  # weights and end have their bounds; rows and pictures do not wait
        server.mend()
        end_service()
        assert upload(trained.tracking(tmp_path), run, rows, TrialState.COMPLETE, store=trained.store) >= 0
        served = server.runs[run.run_id]
        assert numbers(served) == list(points(rows, run))
        assert sorted(shown(served)) == sorted(expected((2, 4, 8), 8))
        assert [a.kind for a in server.artifacts.values() if a.is_committed and a.kind == "detector"] == ["detector"]
        end_service()


def test_a_broken_picture_costs_neither_the_row_nor_the_trial(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise OSError("cannot identify image file")

    run = trained.trial("flat")
    rows = [
        row for found, rows, _, _ in ended_runs(trained.store, "tiny") if found.run_id == run.run_id for row in rows
    ]
    (point,) = [point for point in points(rows, run) if point["iteration"] == 4]
    assert set(PICTURE_KEYS) <= set(with_media(point, rows, run, trained.store))
    monkeypatch.setattr("raystudy.cluster.tracking_media._picture", broken)
    assert with_media(point, rows, run, trained.store) == point
    assert "cannot identify image file" in caplog.text


def _examples(store: Store, segment_id: str, iteration: int) -> tuple[Path, dict[str, Any]]:
    place = store.segment(segment_id).examples(iteration)
    assert place is not None
    folder = store.files.fetch(place)
    return folder, json.loads((folder / "examples.json").read_text())
