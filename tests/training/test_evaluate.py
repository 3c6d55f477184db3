"""Finished weights, evaluated again: the same way gives the same bits, another way is kept beside."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from raystudy.errors import SpecError, StorageError
from raystudy.evaluation.matches import Matches, average_precisions, precision_and_recall
from raystudy.evaluations import StoredEvaluation, read_evaluation, read_matches
from raystudy.finished import FinishedTrial, find_finished
from raystudy.spec.data import ShapesSpec
from raystudy.spec.model import CascadeSpec, KeypointHeadSpec
from raystudy.spec.presets import shapes_data
from raystudy.store import Store
from raystudy.training.evaluate import checked_device, evaluate_trial
from raystudy.training.state import build_state
from tests.finished_trials import placed, trained
from tests.tiny_trials import DATA, tiny_trial


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> FinishedTrial:
    return trained(tmp_path_factory.mktemp("evaluate") / "s")


def test_the_trials_own_evaluation_gives_its_final_row_bit_for_bit(trial: FinishedTrial) -> None:
    found = evaluate_trial(trial, trial.spec.evaluation)
    row = trial.final_row()
    assert row is not None
    assert found.metrics == trial.record.metrics
    assert {name: getattr(row, name) for name in found.metrics} == found.metrics
    assert (found.iteration, found.num_images) == (4, 4)
    (ref,) = trial.record.segments
    trained_with = trial.store.segment(ref.segment_id).matches(4)
    assert trained_with is not None
    for kind in ("box", "mask"):
        assert read_matches(trial.store, found, kind) == trial.store.files.read_in(trained_with, f"{kind}.npz")


def test_another_evaluation_is_kept_with_the_matches_that_its_metrics_come_from(trial: FinishedTrial) -> None:
    evaluation = dataclasses.replace(trial.spec.evaluation, scales=(64, 96), flip=True, score_threshold=0.1)
    found = evaluate_trial(trial, evaluation)
    assert read_evaluation(trial.store, trial.trial_id, evaluation) == found
    for kind in ("box", "mask"):
        precision, _ = precision_and_recall(_matches(trial.store, found, kind))
        ap = average_precisions(precision)["ap"]
        assert ap == found.metrics[f"{kind}_ap"]
        assert np.isfinite(ap)


def test_a_trial_that_asks_for_augmentation_itself_has_the_numbers_that_the_command_gives(tmp_path: Path) -> None:
    augmented = {"evaluation.scales": (64, 96), "evaluation.flip": True}
    trial = trained(tmp_path / "s", **augmented)
    found = evaluate_trial(trial, trial.spec.evaluation)
    assert found.metrics == trial.record.metrics
    last = trial.store.segment(trial.record.segments[-1].segment_id).matches(4)
    assert last is not None
    assert read_matches(trial.store, found, "mask") == trial.store.files.read_in(last, "mask.npz")


def test_boxes_masks_and_keypoints_of_a_cascade_are_evaluated_with_scales_and_mirrors(tmp_path: Path) -> None:
    shapes = dataclasses.replace(DATA.shapes or ShapesSpec(), has_keypoints=True)
    head = KeypointHeadSpec(num_keypoints=4, pool_size=4, num_convs=1, conv_channels=8)
    spec = tiny_trial(
        **{
            "data": dataclasses.replace(shapes_data(shapes), num_keypoints=4),
            "model.cascade": CascadeSpec(),
            "model.keypoint_head": head,
            "evaluation.keypoint_sigmas": (0.1,) * 4,
            "evaluation.detections_per_image": 5,
        }
    )
    store = Store.open(tmp_path / "s", create=True)
    placed(store, spec, build_state(spec, None, torch.device("cpu")).model)
    trial = find_finished(store, spec.trial_id)
    many = evaluate_trial(trial, dataclasses.replace(spec.evaluation, scales=(64, 96), flip=True))
    plain = evaluate_trial(trial, spec.evaluation)
    assert {"box_ap", "mask_ap", "keypoint_ap"} <= many.metrics.keys()
    for kind in ("box", "mask", "keypoint"):
        scores = [_matches(store, found, kind).scores for found in (many, plain)]
        assert min(map(len, scores)) > 0
        assert scores[0].tolist() != scores[1].tolist()


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    store, spec = Store.open(tmp_path / "s", create=True), tiny_trial()
    placed(store, spec, nn.Linear(1, 1))
    with pytest.raises(StorageError, match="not those of its trial's model"):
        evaluate_trial(find_finished(store, spec.trial_id), spec.evaluation)


def test_a_device_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SpecError, match="no GPU here"):
        checked_device("cuda")
    assert checked_device("cpu").type == "cpu"


def _matches(store: Store, found: StoredEvaluation, kind: str) -> Matches:
    content = read_matches(store, found, kind)
    assert content is not None
    return Matches.load(io.BytesIO(content))
