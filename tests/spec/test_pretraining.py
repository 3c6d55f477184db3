"""Recipes of pre-training, fitted to pictures, batches and machines."""

import dataclasses

import pytest

from raystudy.errors import SpecError
from raystudy.spec.presets import init_axis, load_preset
from raystudy.spec.pretraining import (
    IMAGENET_IMAGES,
    at_most_workers,
    on_folder,
    recipe_problems,
    with_batch,
    with_length,
)
from raystudy.spec.study import StudySpec, with_workers
from raystudy.spec.trial import PretrainSpec


def _imagenet() -> PretrainSpec:
    recipe = load_preset("paper").pretraining
    assert recipe is not None
    return recipe


def test_imagenets_recipe_keeps_its_100_passes_on_a_folder_of_another_size() -> None:
    whole = on_folder(_imagenet(), "/data", "listing-1", IMAGENET_IMAGES)
    assert (whole.iterations, whole.lr_drops) == (_imagenet().iterations, _imagenet().lr_drops)
    tenth = on_folder(_imagenet(), "/data", "listing-2", 128_000)
    assert tenth.iterations == 100 * 128_000 / 256
    assert tenth.lr_drops == (15_000, 30_000, 45_000)


def test_where_the_pictures_lie_is_no_part_of_the_weights_but_what_they_are_is() -> None:
    recipe = load_preset("demo").pretraining
    assert recipe is not None
    here, there = (on_folder(recipe, path, "listing-1", 50) for path in ("/here", "/there"))
    other = on_folder(recipe, "/here", "listing-2", 50)
    assert here.weights_id == there.weights_id != other.weights_id
    assert here.iterations == recipe.iterations


def test_the_recipe_of_textures_scales_with_its_length() -> None:
    recipe = PretrainSpec(iterations=100, warmup_iterations=10, lr_drops=(50, 90))
    shorter = with_length(recipe, 20)
    assert (shorter.iterations, shorter.warmup_iterations, shorter.lr_drops) == (20, 2, (10, 18))
    assert with_length(recipe, 1).lr_drops == ()


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.05), ("adamw", 0.1)])
def test_another_batch_sees_as_many_pictures_and_the_rate_of_sgd_follows(optimizer: str, rate: float) -> None:
    recipe = PretrainSpec(iterations=100, batch_size=64, base_lr=0.1, optimizer=optimizer)  # type: ignore[arg-type]
    half = with_batch(recipe, 32)
    assert (half.iterations, half.batch_size, half.base_lr) == (200, 32, rate)
    with pytest.raises(SpecError, match="--batch-size is 0"):
        with_batch(recipe, 0)


def test_pre_training_takes_no_more_workers_than_a_trial() -> None:
    assert at_most_workers(_imagenet(), 3).workers == 2  # a batch of 256 cannot be dealt to 3
    preset = load_preset("paper")
    study = StudySpec(name="s", base=preset.base, axes=(init_axis(),), pretraining=preset.pretraining)
    for workers, expected in ((4, 4), (8, 8), (16, 8)):
        recipe = with_workers(study, workers).pretraining
        assert recipe is not None
        assert recipe.workers == expected


def test_everything_that_is_wrong_with_a_recipe_is_told_at_once() -> None:
    recipe = dataclasses.replace(
        PretrainSpec(), norm="frozen_bn", base_lr=0.0, batch_size=64, workers=3, image_size=0, lr_drops=(900, 5)
    )
    assert len(recipe_problems(recipe)) == 5
    assert recipe_problems(PretrainSpec()) == []
