import functools
import json
from pathlib import Path

import pyarrow as pa
import pytest

from analysis.convergence import settings
from analysis.load import load_study
from raystudy import atomic
from raystudy.errors import RowsError, StorageError
from raystudy.records import TrialState
from raystudy.spec.trial import replaced
from tests.analysis.synthetic import Made, catch_up, rows_of, trial, without, write_segment, write_study

SPECS = [trial(init, k, seed) for init in ("random", "pretrained") for k in (1, 2, 4) for seed in (0, 1)]


def test_a_trial_gets_its_trunk_and_its_branch_and_a_trunk_counts_once(tmp_path: Path) -> None:
    study = load_study(str(tmp_path), write_study(tmp_path, SPECS, catch_up))
    spec = trial("random", 4, 1)
    val = study.val[study.val["trial_id"] == spec.trial_id]
    assert list(val["iteration"]) == list(range(10, 361, 10))
    assert val["box_ap"].iloc[-1] == catch_up(spec, 360)["box_ap"]
    assert set(val["init"]) == {"random"}
    assert len(study.segments) == 4 + len(SPECS)
    trained = (study.segments["end"] - study.segments["start"]).sum()
    # Per init and seed: the trunk of 4x ends at 300 of 360, and each of three branches trains the last 60.
    assert trained == 4 * (300 + 3 * 60)


def test_a_running_study_loads_with_what_it_has(tmp_path: Path) -> None:
    running = Made(trial("random", 2), TrialState.RUNNING, until=150)
    waiting = Made(trial("pretrained", 2), TrialState.WAITING, until=0)
    study = load_study(str(tmp_path), write_study(tmp_path, [running, waiting], catch_up))
    assert study.val["iteration"].max() == 150
    assert list(study.trials["state"]) == ["running", "waiting"]


def _rows_file(content: bytes, folder: Path) -> None:
    (folder / "rows.arrow").write_bytes(content)


def test_a_running_segment_is_read_from_its_newest_whole_checkpoint(tmp_path: Path) -> None:
    spec = trial("random", 1)
    name = write_study(tmp_path, [Made(spec, TrialState.RUNNING, until=50)], catch_up)
    segments = {path.parent.name: path for path in (tmp_path / "segments").glob("*/rows.arrow")}
    for segment_id, path in segments.items():
        for iteration in ("10", "50", "60.partial"):
            folder, content = path.parent / "checkpoints" / iteration, path.read_bytes()
            if iteration == "50":
                atomic.publish_folder(folder, functools.partial(_rows_file, content))
            else:
                write_segment(folder.parent.parent, "ignored", rows_of(spec, segment_id, 0, 5, catch_up))
        path.unlink()
        path.with_name("result.json").unlink()
    assert load_study(str(tmp_path), name).val["iteration"].max() == 50


def test_a_hole_is_refused_with_its_place(tmp_path: Path) -> None:
    name = write_study(tmp_path, [trial("random", 1)], catch_up)
    spec = trial("random", 1)
    trunk = spec.readable_prefix("trunk")
    write_segment(tmp_path, trunk, without(rows_of(spec, trunk, 0, 30, catch_up), 20))
    with pytest.raises(RowsError, match=r"no val row between iterations 10 and 30"):
        load_study(str(tmp_path), name)


def test_duplicates_are_refused(tmp_path: Path) -> None:
    spec = trial("random", 1)
    name = write_study(tmp_path, [spec], catch_up)
    trunk = spec.readable_prefix("trunk")
    rows = rows_of(spec, trunk, 0, 30, catch_up)
    write_segment(tmp_path, trunk, [*rows, rows[-1]])
    with pytest.raises(RowsError, match=r"two val rows at iteration 30"):
        load_study(str(tmp_path), name)


def test_a_complete_trial_that_lacks_its_end_is_refused(tmp_path: Path) -> None:
    name = write_study(tmp_path, [Made(trial("random", 1), TrialState.COMPLETE, until=80)], catch_up)
    with pytest.raises(RowsError, match=r"last evaluation is at iteration 80 of 90"):
        load_study(str(tmp_path), name)


def test_rows_of_another_version_are_refused(tmp_path: Path) -> None:
    spec = trial("random", 1)
    name = write_study(tmp_path, [spec], catch_up)
    trunk = spec.readable_prefix("trunk")
    write_segment(tmp_path, trunk, rows_of(spec, trunk, 0, 30, catch_up), version=99)
    with pytest.raises(RowsError, match=r"rows of version 99"):
        load_study(str(tmp_path), name)


def test_rows_from_before_a_column_was_added_load_beside_newer_ones(tmp_path: Path) -> None:
    specs = [trial("random", 1), trial("pretrained", 1)]
    name = write_study(tmp_path, specs, lambda spec, at: {**catch_up(spec, at), "train_box_ap": 50.0})
    older = tmp_path / "segments" / specs[0].readable_prefix("trunk") / "rows.arrow"
    with pa.OSFile(str(older), "rb") as source:
        table = pa.ipc.open_file(source).read_all().drop_columns(["train_box_ap", "train_mask_ap"])
    with pa.ipc.new_file(str(older), table.schema) as writer:
        writer.write_table(table)
    val = load_study(str(tmp_path), name).val
    known = val["train_box_ap"].notna()
    assert set(val["init"][~known]) == {"random"}
    assert set(val["train_box_ap"][known]) == {50.0}


def test_an_unknown_study_names_those_that_are_there(tmp_path: Path) -> None:
    write_study(tmp_path, [trial("random", 1)], catch_up, name="lengths")
    with pytest.raises(StorageError, match="it has lengths"):
        load_study(str(tmp_path), "length")


def test_an_augmented_evaluation_takes_the_place_of_the_trials_last_one(tmp_path: Path) -> None:
    import dataclasses

    from analysis.cost import study_cost
    from raystudy.records import EvalRow, SegmentRef, record_to_dict
    from raystudy.store import Store

    spec = trial("random", 1)
    name = write_study(tmp_path, [spec], catch_up)
    store, before = Store.open_unchecked(tmp_path), load_study(str(tmp_path), name)
    record = store.read_trial(spec.trial_id)
    assert record is not None
    (plain,) = (
        row for row in store.trial_rows(record) if isinstance(row, EvalRow) and row.iteration == record.iteration
    )
    evaluation = SegmentRef(segment_id="evaluation", start=record.iteration, end=record.iteration)
    write_segment(
        tmp_path, "evaluation", [dataclasses.replace(plain, segment_id="evaluation", box_ap=77.0, wall_time_s=36.0)]
    )
    record = dataclasses.replace(record, segments=(*record.segments, evaluation))
    (tmp_path / "trials" / f"{spec.trial_id}.json").write_text(json.dumps(record_to_dict(record)))

    after = load_study(str(tmp_path), name)
    assert list(after.rows["iteration"]) == [row.iteration for row in store.trial_rows(record)]
    assert list(after.val["box_ap"])[-1] == 77.0
    assert list(after.val["box_ap"])[:-1] == list(before.val["box_ap"])[:-1]
    assert len(after.train) == len(before.train)
    assert study_cost(after).iterations == study_cost(before).iterations
    assert study_cost(after).device_hours == pytest.approx(study_cost(before).device_hours + 36 * spec.workers / 3600)


def test_an_unfinished_study_is_read_from_its_segments(tmp_path: Path) -> None:
    """Records of trials are written when a run ends; until then the study's paths and the segments tell."""
    done, half = trial("random", 1), trial("pretrained", 2)
    name = write_study(tmp_path, [done, Made(half, TrialState.RUNNING, until=150)], catch_up)
    place = tmp_path / "studies" / f"{name}.json"
    content, paths = json.loads(place.read_text()), {}
    for record in (tmp_path / "trials").glob("*.json"):
        kept = json.loads(record.read_text())
        paths[kept["trial_id"]] = kept["segments"]
        record.unlink()
    place.write_text(json.dumps({**content, "paths": paths}))
    study = load_study(str(tmp_path), name)
    assert study.trials.loc[done.trial_id, "state"] == "complete"
    assert study.trials.loc[half.trial_id, "state"] == "running"
    assert study.trials.loc[half.trial_id, "iteration"] == 150
    assert len(study.val[study.val["trial_id"] == half.trial_id]) == 15


def test_settings_go_from_most_to_least_data(tmp_path: Path) -> None:
    specs = [trial("random", 1, num_images=n) for n in (45, 1350, 450)]
    study = load_study(str(tmp_path), write_study(tmp_path, specs, catch_up))
    assert [setting[2] for setting in settings(study)] == ["1,350 images", "450 images", "45 images"]


def test_settings_go_in_the_order_of_the_studys_axes(tmp_path: Path) -> None:
    specs = {norm: replaced(trial("random", 1), **{"model.norm": norm}) for norm in ("gn", "bn")}
    name = write_study(tmp_path, list(specs.values()), catch_up)
    file = tmp_path / "studies" / f"{name}.json"
    content = json.loads(file.read_text())
    content["levels"] = {spec.trial_id: {"norm": norm} for norm, spec in specs.items()}
    content["spec"] = {"axes": [{"name": "norm", "levels": [{"name": norm, "overrides": {}} for norm in specs]}]}
    file.write_text(json.dumps(content, sort_keys=True))
    assert list(load_study(str(tmp_path), name).trials["norm"]) == ["gn", "bn"]


def test_addresses_of_tracking_are_links(tmp_path: Path) -> None:
    name = write_study(tmp_path, [trial("random", 1)], catch_up)
    folder = tmp_path / "reports" / name
    folder.mkdir(parents=True)
    kept = {"workspace": "https://wandb.example/w", "report": "javascript:alert(1)"}
    folder.joinpath("wandb-me-mine.json").write_text(json.dumps(kept))
    assert load_study(str(tmp_path), name).links == {"W&B workspace": "https://wandb.example/w"}
