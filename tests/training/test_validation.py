"""Validation of a state: what several scales change, and what they must not."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from raystudy.cluster.worker import run_segment
from raystudy.data.loader import EvalLoader, open_split
from raystudy.evaluation.matches import Matches
from raystudy.records import EvalRow, Losses
from raystudy.spec.plan import make_plan
from raystudy.spec.trial import TrialSpec
from raystudy.store import Store
from raystudy.training.state import TrainState, build_state
from raystudy.training.validation import Validator, training_part
from tests.cluster.without_ray import FakeRun
from tests.tiny_trials import results, settings, tiny_trial

CPU = torch.device("cpu")
LOSSES = [field.name for field in dataclasses.fields(Losses)]
SIDE = {"input.test_short_side": 96, "input.max_side": 96}
"""Pictures of 64 pixels are enlarged."""

BASE = tiny_trial(**SIDE)


@pytest.fixture(scope="module")
def state() -> TrainState:
    return build_state(BASE, None, CPU)


def _validated(state: TrainState, spec: TrialSpec) -> tuple[dict[str, float], dict[str, Matches]]:
    state.model.evaluation = spec.evaluation
    validator = Validator(open_split(spec.data, "val"), spec)
    metrics = validator(state)
    return metrics, validator.matches()


def test_one_scale_that_is_the_test_size_gives_the_detections_of_the_plain_evaluation(state: TrainState) -> None:
    plain, plain_matches = _validated(state, BASE)
    scaled, scaled_matches = _validated(state, tiny_trial(**SIDE, **{"evaluation.scales": (96,)}))
    assert {name: plain[name] for name in LOSSES} == pytest.approx({name: scaled[name] for name in LOSSES}, nan_ok=True)
    for kind, own in plain_matches.items():
        other = scaled_matches[kind]
        assert len(own.scores) > 20
        np.testing.assert_allclose(own.scores, other.scores, rtol=1e-5)
        assert np.array_equal(own.detection_image, other.detection_image)


def test_losses_are_those_of_the_test_size_whatever_the_scales(state: TrainState) -> None:
    plain, plain_matches = _validated(state, BASE)
    many, many_matches = _validated(
        state, tiny_trial(**SIDE, **{"evaluation.scales": (64, 128), "evaluation.flip": True})
    )
    assert {name: repr(plain[name]) for name in LOSSES} == {name: repr(many[name]) for name in LOSSES}
    assert not np.array_equal(plain_matches["box"].scores, many_matches["box"].scores)


def test_pictures_for_several_scales_are_loaded_as_they_lie_on_disk() -> None:
    dataset = open_split(BASE.data, "val")
    (batch,) = list(EvalLoader(dataset.subset(np.array([2])), BASE, 0, 1, whole=True))
    assert batch.sizes == batch.original_sizes == [(64, 64)]
    assert torch.equal(batch.images[0].permute(1, 2, 0), torch.from_numpy(dataset.image(2)))


def test_metrics_alone_are_those_of_the_whole_validation(state: TrainState) -> None:
    validator = Validator(open_split(BASE.data, "val"), BASE)
    state.model.evaluation = BASE.evaluation
    both = validator(state)
    alone = validator.metrics(state.model, CPU)
    assert {name: repr(both[name]) for name in alone} == {name: repr(value) for name, value in alone.items()}
    assert not set(alone) & set(LOSSES)


SCORED = {"evaluation.train_images": 5}


def test_a_fixed_part_of_the_training_set_is_scored_whenever_it_is_asked_for(state: TrainState) -> None:
    spec = tiny_trial(**SIDE, **SCORED)
    train_set, val_set = open_split(spec.data, "train"), open_split(spec.data, "val")
    validator = Validator(val_set, spec, train_set)
    state.model.evaluation = spec.evaluation
    torch.manual_seed(1)
    first = validator(state)
    torch.manual_seed(2)
    assert repr(validator(state)) == repr(first)
    assert torch.initial_seed() == 2  # and no draw was made of it
    part = training_part(train_set, 5)
    assert len(part) == 5
    alone = Validator(part, spec).metrics(state.model, CPU)
    assert (first["train_box_ap"], first["train_mask_ap"]) == (alone["box_ap"], alone["mask_ap"])
    plain, _ = _validated(state, BASE)
    assert repr({name: first[name] for name in plain}) == repr(plain)
    assert not [name for name in plain if name.startswith("train_")]


def test_training_pictures_are_scored_without_augmentation(state: TrainState) -> None:
    plain = Validator(open_split(BASE.data, "val"), tiny_trial(**SIDE, **SCORED), open_split(BASE.data, "train"))
    augmented = tiny_trial(**SIDE, **SCORED, **{"evaluation.scales": (64, 96), "evaluation.flip": True})
    state.model.evaluation = plain_evaluation = tiny_trial(**SIDE, **SCORED).evaluation
    expected = plain(state)["train_box_ap"]
    state.model.evaluation = augmented.evaluation
    found = Validator(open_split(BASE.data, "val"), augmented, open_split(BASE.data, "train"))(state)
    assert found["train_box_ap"] == expected
    assert state.model.evaluation is augmented.evaluation
    state.model.evaluation = plain_evaluation


def test_parts_of_the_training_set_are_nested_hold_instances_and_are_never_too_large() -> None:
    whole = open_split(BASE.data, "train")
    parts = [set(training_part(whole, count).image_ids) for count in (2, 5, 100)]
    assert parts[0] < parts[1] < parts[2] == set(whole.image_ids)
    kept = np.ones(len(whole.all_labels()), dtype=bool)
    kept[: whole.num_instances(0)] = False
    assert whole.image_ids[0] not in training_part(whole.with_instances(kept), 100).image_ids


def test_scoring_training_pictures_changes_no_bit_of_training(tmp_path: Path) -> None:
    trained = {}
    for number, extra in enumerate(({}, SCORED)):
        (segment,) = make_plan([tiny_trial(total=4, before_end=2, **extra)]).segments
        given = settings(tmp_path / str(number))
        run_segment(segment, given, FakeRun())
        kept = Store.open(given.storage).segment(segment.segment_id)
        weights = torch.load(kept.load(4) / "state.pt", weights_only=True)["model"]
        trained[number] = kept.rows(), weights
    (plain, weights), (scored, other) = trained.values()
    aps = ("train_box_ap", "train_mask_ap")
    assert results(plain, but=("segment_id", *aps)) == results(scored, but=("segment_id", *aps))
    assert [name for name in weights if not torch.equal(weights[name], other[name])] == []
    evaluated = [row for row in scored if isinstance(row, EvalRow)]
    assert len(evaluated) == 2
    assert not any(math.isnan(getattr(row, name)) for row in evaluated for name in aps)
    assert all(math.isnan(getattr(row, name)) for row in plain if isinstance(row, EvalRow) for name in aps)
