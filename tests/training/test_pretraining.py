"""Pre-training: learns, goes on bit-equal after a cut, and leaves weights that a detector takes."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from raystudy.errors import DivergedError, SpecError
from raystudy.models.initialization import load_backbone_weights
from raystudy.spec.model import PixelSpec
from raystudy.spec.presets import load_preset, tiny_model
from raystudy.spec.trial import PretrainSpec
from raystudy.training.classifier import Classifier, build_pretrain_state
from raystudy.training.pretraining import PretrainRow, pretrain, pretrain_lr, pretrain_rows, top1
from raystudy.training.pretraining_pictures import TextureCrops
from tests.tiny_trials import tiny_recipe

SMALL = tiny_recipe()


class CutError(Exception):
    """Stands for a kill."""


def test_a_run_that_is_cut_off_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path: Path,
) -> None:
    rows: list[PretrainRow] = []
    whole = pretrain(SMALL, tmp_path / "whole", rows.append)
    assert [row.iteration for row in rows] == [1, 2, 3, 4, 5, 6]

    def cut_at_4(row: PretrainRow) -> None:
        if row.iteration == 4:
            raise CutError

    with pytest.raises(CutError):
        pretrain(SMALL, tmp_path / "cut", cut_at_4)
    later: list[PretrainRow] = []
    resumed = pretrain(SMALL, tmp_path / "cut", later.append)
    assert later == rows[4:]
    assert resumed.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["provenance.json", "weights.pt"]


def test_the_weights_fit_a_detector_and_their_provenance_is_told(tmp_path: Path) -> None:
    from raystudy.models.detector import build_detector
    from raystudy.spec.evaluation import EvalSpec

    weights = pretrain(SMALL, tmp_path)
    detector = build_detector(tiny_model(), 6, EvalSpec())
    report = load_backbone_weights(detector, weights)
    assert report.conversions == ()
    stored = torch.load(weights, weights_only=True)
    assert torch.equal(detector.backbone.state_dict()["conv1.weight"], stored["backbone"]["conv1.weight"])
    provenance = json.loads((tmp_path / "provenance.json").read_text())
    assert provenance["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (provenance["images_seen"], provenance["instances_seen"]) == (48, None)
    assert (provenance["pixels_measured_seen"], provenance["pixels_nominal_seen"]) == (48 * 32 * 32, 48 * 224 * 224)
    assert 0 <= provenance["top1"] <= 1


def test_finished_weights_are_not_made_again(tmp_path: Path) -> None:
    before = pretrain(SMALL, tmp_path).stat().st_mtime_ns

    def fail(row: PretrainRow) -> None:
        raise AssertionError(f"trained again: {row}")

    assert pretrain(SMALL, tmp_path, fail).stat().st_mtime_ns == before


class Brightness:
    """Two classes that any network can tell apart: dark and bright noise."""

    num_classes = 2
    num_train = 8
    num_held_out_batches = 2

    def train_batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(iteration)
        labels = torch.arange(8) % 2
        noise = torch.randint(0, 100, (8, 3, 32, 32), generator=generator)
        return (noise + 150 * labels[:, None, None, None]).to(torch.uint8), labels

    def held_out_batch(self, index: int) -> tuple[Tensor, Tensor]:
        return self.train_batch(1000 + index)


def test_it_learns_what_is_easy() -> None:
    spec = dataclasses.replace(SMALL, iterations=20, base_lr=0.05)
    state = build_pretrain_state(spec, 2, torch.device("cpu"))
    pictures = Brightness()
    assert 0 <= top1(state, pictures) <= 1
    *_, row = pretrain_rows(state, pictures, spec)
    assert row.iteration == 20
    assert row.loss < 0.69
    assert top1(state, pictures) == 1.0


def test_training_crops_come_once_a_pass_and_are_not_the_held_out_ones() -> None:
    spec = dataclasses.replace(SMALL, num_pictures=24)
    crops = TextureCrops(spec)
    # Turning and mirroring keep the sum of a crop's pixels, which identifies it.
    first = {int(image.sum()) for i in range(3) for image in crops.train_batch(i)[0].to(torch.int64)}
    second = {int(image.sum()) for i in range(3, 6) for image in crops.train_batch(i)[0].to(torch.int64)}
    held_out = {int(image.sum()) for image in crops.held_out_batch(0)[0].to(torch.int64)}
    assert crops.num_held_out_batches == 1
    assert len(first) == 24
    assert first == second
    assert not torch.equal(crops.train_batch(0)[1], crops.train_batch(3)[1])
    assert len(held_out) == 20
    assert not held_out & first


@pytest.mark.parametrize("norm", ["bn", "sync_bn", "none"])
def test_other_norms_can_be_pretrained(norm: str, tmp_path: Path) -> None:
    spec = dataclasses.replace(SMALL, norm=norm, iterations=2, base_lr=0.01)
    content = torch.load(pretrain(spec, tmp_path), weights_only=True)
    assert ("bn1.running_mean" in content["backbone"]) == (norm != "none")


def test_the_rate_rises_to_the_base_rate_and_falls_to_zero() -> None:
    spec = PretrainSpec(iterations=1000, warmup_iterations=10, base_lr=0.1)
    rates = [pretrain_lr(spec, iteration) for iteration in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(0.1, rel=1e-3)
    assert rates[500] == pytest.approx(0.05)
    assert rates[-1] < 1e-6
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_the_rate_falls_to_a_tenth_at_each_drop() -> None:
    spec = PretrainSpec(iterations=100, warmup_iterations=0, base_lr=0.1, lr_drops=(30, 60))
    rates = [pretrain_lr(spec, iteration) for iteration in (0, 29, 30, 59, 60, 99)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_the_papers_preset_is_the_recipe_of_group_normalization() -> None:
    recipe = load_preset("paper").pretraining
    assert recipe is not None
    passes = recipe.batch_size / 1_281_167
    assert recipe.iterations * passes == pytest.approx(100, abs=1e-3)
    assert [drop * passes for drop in recipe.lr_drops] == pytest.approx([30, 60, 90], abs=1e-3)
    assert (recipe.base_lr, recipe.batch_size, recipe.workers, recipe.image_size) == (0.1, 256, 8, 224)
    assert {recipe.weight_decay, recipe.norm_weight_decay, recipe.bias_weight_decay} == {1e-4}


def test_blocks_may_start_as_the_identity() -> None:
    spec = dataclasses.replace(SMALL, zero_last_gamma=True)
    for backbone, last in (("tiny", "bn2"), ("resnet50", "bn3")):
        parameters = dict(Classifier(dataclasses.replace(spec, backbone=backbone), 6).backbone.named_parameters())
        gammas = {name: value for name, value in parameters.items() if ".bn" in name and name.endswith("weight")}
        zero = {name for name, value in gammas.items() if not value.any()}
        assert zero == {name for name in gammas if last in name}
        assert zero


def test_bad_recipes_are_refused_with_all_problems(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        pretrain(dataclasses.replace(SMALL, norm="frozen_bn", iterations=0, batch_size=64, workers=3), tmp_path)
    assert len(caught.value.problems) == 5
    with pytest.raises(SpecError, match="lr_drops"):
        pretrain(dataclasses.replace(SMALL, lr_drops=(4, 2)), tmp_path)


def test_a_loss_that_is_not_finite_ends_it(tmp_path: Path) -> None:
    spec = dataclasses.replace(SMALL, norm="none", base_lr=1e30, pixels=PixelSpec())
    with pytest.raises(DivergedError, match="base_lr"):
        pretrain(spec, tmp_path)
