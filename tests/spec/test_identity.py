"""A trial is its spec: what decides the result is its identity, and nothing else is."""

import dataclasses

import pytest

from raystudy.errors import SpecError
from raystudy.spec.identity import digest, from_dict, identity_dict, located, to_dict
from raystudy.spec.presets import load_preset
from raystudy.spec.schedule import ScheduleSpec
from raystudy.spec.trial import TrialSpec, replaced

PAPER = TrialSpec(schedule=ScheduleSpec.from_units(6))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Before:
    size: int
    width: int = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class After:
    """``Before`` with a field of later, at its default, and a place."""

    size: int
    width: int = 3
    depth: int = 1
    path: str = located("")


def test_trial_ids_are_pinned() -> None:
    # A change of these ids orphans every result that users have: bump nothing without a reason to retrain.
    assert PAPER.trial_id == "r50-gn-random-f100-6x-s0-3fae5ebd"
    assert load_preset("demo").base.trial_id == "tiny-gn-random-f100-1x-s0-10605849"


def test_a_new_field_at_its_default_keeps_every_id() -> None:
    assert digest(identity_dict(Before(size=5))) == digest(identity_dict(After(size=5)))
    assert digest(identity_dict(Before(size=5))) != digest(identity_dict(After(size=5, depth=2)))


def test_moving_the_data_changes_no_id() -> None:
    moved = replaced(PAPER, **{"data.train_images": "elsewhere/train2017", "data.name": "coco"})
    assert moved.trial_id == PAPER.trial_id


@pytest.mark.parametrize(
    "override",
    [
        {"model.norm": "sync_bn"},
        {"model.backbone": "resnet101"},
        {"init.kind": "pretrained"},
        {"init.weights_id": "abc"},
        {"data.train_checksum": "sha256:1"},
        {"data.fraction": 0.1},
        {"data.subset_seed": 1},
        {"optimizer.base_lr": 0.04},
        {"schedule": ScheduleSpec.from_units(5)},
        {"seed": 1},
        {"workers": 4},
        {"images_per_worker": 4},
        {"precision": "bf16"},
        {"compiled": True},
    ],
)
def test_everything_that_decides_the_result_changes_the_id(override: dict[str, object]) -> None:
    assert replaced(PAPER, **override).trial_id.rsplit("-", 1)[1] != PAPER.trial_id.rsplit("-", 1)[1]


def test_a_spec_survives_json() -> None:
    trial = load_preset("demo").base
    assert TrialSpec.from_dict(trial.to_dict()) == trial
    assert TrialSpec.from_dict(to_dict(PAPER)) == PAPER


def test_a_spec_that_does_not_fit_is_refused_with_all_that_is_wrong() -> None:
    content = PAPER.to_dict()
    content["sede"] = 3
    content["workers"] = "many"
    content["model"]["norm"] = "layer_norm"
    with pytest.raises(SpecError) as caught:
        from_dict(TrialSpec, content)
    text = str(caught.value)
    assert "no field sede" in text
    assert "'many'" in text
    assert "one of gn, sync_bn, bn, frozen_bn, none" in text


def test_an_override_of_no_field_is_refused() -> None:
    with pytest.raises(SpecError, match=r"model\.nrom is no field"):
        replaced(PAPER, **{"model.nrom": "gn"})
