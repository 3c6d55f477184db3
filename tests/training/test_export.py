"""Exported weights: the same bits in a plain file, under our names and torchvision's, there and back."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torchvision.models import detection

from raystudy.errors import SpecError, WeightsError
from raystudy.exported import ExportedTrial, is_export, read_export
from raystudy.finished import find_finished
from raystudy.models.detector import build_detector
from raystudy.models.initialization import initialize
from raystudy.models.torchvision_names import builder_of, from_torchvision, to_torchvision, torchvision_model
from raystudy.spec.trial import TrialSpec
from raystudy.store import Store
from raystudy.training.export import export_trial, load_exported
from tests.finished_trials import placed
from tests.tiny_trials import tiny_trial

CPU = torch.device("cpu")


def _exported(folder: Path, spec: TrialSpec, form: str = "raystudy") -> tuple[ExportedTrial, dict[str, torch.Tensor]]:
    """An export of random weights, and those weights."""
    model = build_detector(spec.model, spec.data.num_categories, spec.evaluation)
    initialize(model, 3)
    store = Store.open(folder / "s", create=True)
    placed(store, spec, model)
    export_trial(find_finished(store, spec.trial_id), folder / "out", form, commit="abc")
    return read_export(folder / "out"), model.state_dict()


def _as_torchvision(spec: TrialSpec, version: int, norm: str = "") -> TrialSpec:
    return dataclasses.replace(spec, model=torchvision_model(version, norm))


def test_the_export_is_a_plain_state_dict_and_says_what_it_is(tmp_path: Path) -> None:
    spec = tiny_trial()
    exported, weights = _exported(tmp_path, spec)
    state = torch.load(exported.weights, weights_only=True)
    assert [name for name in weights if not torch.equal(weights[name], state[name])] == []
    assert state.keys() == weights.keys()
    card = json.loads((tmp_path / "out" / "trial.json").read_text())
    assert card["trial_id"] == spec.trial_id
    assert card["categories"] == ["disc", "triangle", "square", "star", "cross", "crescent"]
    assert card["metrics"] == {"box_ap": 12.5}
    assert card["exposure"]["images"] == 16
    assert card["provenance"]["commit"] == "abc"
    assert exported.spec == spec


def test_exported_weights_load_into_the_model_of_their_card(tmp_path: Path) -> None:
    exported, weights = _exported(tmp_path, tiny_trial())
    model = load_exported(exported, CPU)
    assert not model.training
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_an_export_that_was_changed_or_cut_short_is_refused(tmp_path: Path) -> None:
    exported, _ = _exported(tmp_path, tiny_trial())
    assert is_export(exported.folder)
    exported.weights.write_bytes(exported.weights.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="sha256 differs"):
        read_export(exported.folder)
    exported.weights.unlink()
    with pytest.raises(WeightsError, match="are not there"):
        read_export(exported.folder)
    (exported.folder / "trial.json").write_text('{"version": 7}')
    with pytest.raises(WeightsError, match="version 7"):
        read_export(exported.folder)


@pytest.mark.parametrize(
    ("version", "norm"), [(1, ""), (2, ""), (2, "sync_bn")], ids=["v1 frozen_bn", "v2 bn", "v2 sync_bn"]
)
def test_torchvisions_weights_become_ours_and_torchvisions_again_with_every_bit(version: int, norm: str) -> None:
    spec = _as_torchvision(tiny_trial(), version, norm)
    built = builder_of(spec)
    torch.manual_seed(0)
    theirs = getattr(detection, built["function"])(**built["arguments"])
    given = theirs.state_dict()
    ours = build_detector(spec.model, spec.data.num_categories, spec.evaluation)
    ours.load_state_dict(from_torchvision(given, spec.model), strict=True)
    back = to_torchvision(ours.state_dict(), spec.model)
    counts = {name for name in given if name.endswith("num_batches_tracked")}
    assert given.keys() - back.keys() == (counts if version == 1 else set())
    assert [name for name in back if not torch.equal(back[name], given[name])] == []
    theirs.load_state_dict(back, strict=True)


def test_an_export_for_torchvision_loads_into_its_builder_strictly_and_comes_back(tmp_path: Path) -> None:
    exported, weights = _exported(tmp_path, _as_torchvision(tiny_trial(), 2), "torchvision")
    built = exported.card["torchvision"]
    theirs = getattr(detection, built["function"])(**built["arguments"])
    theirs.load_state_dict(torch.load(exported.weights, weights_only=True), strict=True)
    assert torch.equal(theirs.roi_heads.box_head[5].weight, weights["box_head.fcs.0.weight"])
    assert torch.equal(theirs.rpn.head.conv[1][0].weight, weights["rpn.more.0.weight"])
    ours = load_exported(exported, CPU).state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in ours.items())


def test_what_torchvision_has_no_model_of_is_refused_with_all_that_differs(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        _exported(tmp_path, tiny_trial(), "torchvision")
    told = str(caught.value)
    for part in ("norm is gn", "backbone is tiny", "pixels is", "rpn.anchor_style is detectron", "mask_head is"):
        assert part in told
    assert not (tmp_path / "out").exists()


def test_a_name_that_torchvision_does_not_have_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"such as box_heads\.x"):
        to_torchvision({"box_heads.x": torch.zeros(1)}, torchvision_model())
