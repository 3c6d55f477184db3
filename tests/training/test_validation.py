"""Validation of a state: what several scales change, and what they must not."""

import dataclasses

import numpy as np
import pytest
import torch

from raystudy.data.loader import EvalLoader, open_split
from raystudy.evaluation.matches import Matches
from raystudy.records import Losses
from raystudy.spec.trial import TrialSpec
from raystudy.training.state import TrainState, build_state
from raystudy.training.validation import Validator
from tests.tiny_trials import tiny_trial

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
