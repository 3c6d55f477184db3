"""Recipes of pre-training, fitted to a user's pictures and machines, and what can be wrong with one."""

import dataclasses
from collections.abc import Sequence

from raystudy.errors import SpecError
from raystudy.spec.trial import PretrainSpec

IMAGENET_IMAGES = 1_281_167
"""Training pictures of ImageNet-1k (Russakovsky et al. 2015, Table 2): 100 epochs of them are Figure 2's 131.0M."""

NOMINAL_PIXELS = 224 * 224
"""Of a picture of pre-training, as the paper's Figure 2 counts them (paper.md section 4)."""

_AT_LEAST_1 = ("iterations", "batch_size", "image_size", "num_pictures", "num_held_out", "workers")


def on_folder(recipe: PretrainSpec, path: str, checksum: str, num_train: int) -> PretrainSpec:
    """The recipe on a folder of labelled pictures.

    ImageNet's keeps its number of passes over the pictures: its 100 epochs stay 100, of however many pictures. The
    recipe of textures keeps its iterations.
    """
    defaults = PretrainSpec()
    if recipe.data == "imagefolder":
        recipe = with_length(recipe, round(recipe.iterations * num_train / IMAGENET_IMAGES))
    return dataclasses.replace(
        recipe,
        data="imagefolder",
        data_path=path,
        data_checksum=checksum,
        num_pictures=defaults.num_pictures,  # of rendered crops, so that they decide nothing here
        num_held_out=defaults.num_held_out,
    )


def with_length(recipe: PretrainSpec, iterations: int) -> PretrainSpec:
    """The recipe over so many iterations, at least one, its warm-up and drops at the same shares of them."""
    if iterations == recipe.iterations:
        return recipe
    iterations = max(1, iterations)
    share = iterations / recipe.iterations
    drops = sorted({round(drop * share) for drop in recipe.lr_drops})
    return dataclasses.replace(
        recipe,
        iterations=iterations,
        warmup_iterations=round(recipe.warmup_iterations * share),
        lr_drops=tuple(drop for drop in drops if 0 < drop < iterations),
    )


def with_batch(recipe: PretrainSpec, batch_size: int) -> PretrainSpec:
    """The recipe with another batch: it sees as many pictures, and the rate of SGD follows the batch (Goyal 2017).

    Raises:
        SpecError: a batch of no picture.
    """
    if batch_size < 1:
        raise SpecError(f"--batch-size is {batch_size}, but must be at least 1")
    share = recipe.batch_size / batch_size
    rate = recipe.base_lr / share if recipe.optimizer == "sgd" else recipe.base_lr
    recipe = with_length(recipe, round(recipe.iterations * share))
    return dataclasses.replace(recipe, batch_size=batch_size, base_lr=rate)


def at_most_workers(recipe: PretrainSpec, workers: int) -> PretrainSpec:
    """The recipe for no more workers than there are: as many of them as can share its batch evenly."""
    fits = max(n for n in range(1, max(1, workers) + 1) if recipe.batch_size % n == 0)
    return dataclasses.replace(recipe, workers=min(recipe.workers, fits))


def recipe_problems(recipe: PretrainSpec) -> list[str]:
    """Why a recipe cannot be trained, whatever its pictures; empty when it can."""
    found = []
    if recipe.norm == "frozen_bn":
        found.append("pre-training cannot freeze its norm; use bn, whose weights load into frozen_bn")
    for name in _AT_LEAST_1:
        if getattr(recipe, name) < 1:
            found.append(f"pre-training {name} is {getattr(recipe, name)}, but must be at least 1")
    if recipe.data == "textures" and recipe.num_pictures < recipe.batch_size:
        found.append(f"num_pictures is {recipe.num_pictures}, but must hold a batch of {recipe.batch_size}")
    if recipe.base_lr <= 0:
        found.append(f"pre-training base_lr is {recipe.base_lr:g}, but must be above 0")
    if not _is_rising(recipe.lr_drops, recipe.iterations):
        found.append(f"lr_drops are {recipe.lr_drops}, but must rise, between iteration 0 and {recipe.iterations}")
    if recipe.workers >= 1 and recipe.batch_size % recipe.workers:
        found.append(f"{recipe.workers} workers cannot share a batch of {recipe.batch_size} evenly")
    return found


def _is_rising(drops: Sequence[int], iterations: int) -> bool:
    return list(drops) == sorted(set(drops)) and all(0 < drop < iterations for drop in drops)
