"""Everything that can be refused before the first iteration, all of it at once."""

import os
from collections.abc import Mapping

from raystudy.cluster.settings import RunSettings
from raystudy.errors import SpecError, StorageError, WeightsError
from raystudy.spec.data import DataSpec
from raystudy.spec.plan import Plan
from raystudy.spec.pretraining import recipe_problems
from raystudy.spec.trial import PretrainSpec, TrialSpec
from raystudy.store import Store


def preflight(plan: Plan, settings: RunSettings) -> None:
    """Check storage, resources, weights and data of a plan.

    Raises:
        SpecError: with every problem found.
    """
    problems = _storage_problems(settings) + _resource_problems(plan, settings)
    problems += _weights_problems(plan, settings)
    problems += settings.tracking.problems() if settings.tracking is not None else []
    asked = dict.fromkeys((t.data, t.model.mask_head is not None, _num_keypoints(t)) for t in plan.trials.values())
    for data, needs_masks, num_keypoints in asked:
        found = _data_problems(data, needs_masks, num_keypoints)
        problems += [problem for problem in found if problem not in problems]
    if problems:
        raise SpecError(problems)


def check_pretraining(recipe: PretrainSpec, settings: RunSettings) -> None:
    """Check storage, resources and pictures of a pre-training that stands alone.

    Raises:
        SpecError: with every problem found.
    """
    problems = _storage_problems(settings)
    if not _has_weights(settings, recipe.weights_id):
        problems += _too_large({"pre-training": recipe.workers}, settings) + _recipe_problems(recipe)
    if problems:
        raise SpecError(problems)


def _storage_problems(settings: RunSettings) -> list[str]:
    try:
        Store.check(settings.storage)
    except StorageError as error:
        return [str(error)]
    return []


def _resource_problems(plan: Plan, settings: RunSettings) -> list[str]:
    nodes = {"a trial": max(trial.workers for trial in plan.trials.values())}
    nodes["pre-training"] = max((recipe.workers for recipe in _recipes_to_train(plan, settings)), default=0)
    return _too_large(nodes, settings)


def _too_large(nodes: Mapping[str, int], settings: RunSettings) -> list[str]:
    """What takes more workers than a local Ray has CPUs for; a cluster is asked when it is connected."""
    if os.environ.get("RAY_ADDRESS"):
        return []
    cpus = len(os.sched_getaffinity(0))
    needed = {what: workers * settings.threads for what, workers in nodes.items()}
    return [
        f"{what} of {nodes[what]} workers with {settings.threads} threads each needs {needed[what]} CPUs, but this "
        f"machine has {cpus}; take fewer --workers or --threads, or set RAY_ADDRESS to a larger cluster"
        for what in nodes
        if needed[what] > cpus
    ]


def _weights_problems(plan: Plan, settings: RunSettings) -> list[str]:
    brought = [
        trial
        for trial in plan.trials.values()
        if trial.init.weights_file and not _has_weights(settings, trial.init.weights_id)
    ]
    problems: list[str] = []
    for trial in {(trial.model, trial.init.weights_file): trial for trial in brought}.values():
        problems += [problem for problem in _misfits(trial) if problem not in problems]
    for recipe in _recipes_to_train(plan, settings):
        problems += [problem for problem in _recipe_problems(recipe) if problem not in problems]
    return problems


def _recipes_to_train(plan: Plan, settings: RunSettings) -> list[PretrainSpec]:
    """Without those whose weights are in the storage, for which no picture is needed."""
    return [recipe for weights_id, recipe in plan.pretrainings.items() if not _has_weights(settings, weights_id)]


def _has_weights(settings: RunSettings, weights_id: str) -> bool:
    """False as well where the storage cannot be read, of which ``_storage_problems`` tells."""
    try:
        return Store.open_unchecked(settings.storage).has_weights(weights_id)
    except StorageError:
        return False


def _recipe_problems(recipe: PretrainSpec) -> list[str]:
    if recipe.data == "imagefolder" and not recipe.data_path:
        return [
            f"pretrained {recipe.backbone} with norm {recipe.norm} has no weights, and no pictures to make them from: "
            "give a weights file with --weights FILE, or a folder of labelled pictures with --pretrain-data FOLDER"
            + ("; BN weights do not fit a GN network" if recipe.norm == "gn" else "")
        ]
    from raystudy.training.pretraining_pictures import picture_problems

    return [*recipe_problems(recipe), *picture_problems(recipe)]


def _misfits(trial: TrialSpec) -> list[str]:
    """Why a weights file cannot be had or does not fit the trial's backbone, by loading it into one."""
    from raystudy.models.detector import build_detector
    from raystudy.models.initialization import load_backbone_weights
    from raystudy.models.torchvision_file import local_file

    try:
        path = local_file(trial.init.weights_file)
        load_backbone_weights(build_detector(trial.model, trial.data.num_categories, trial.evaluation), path)
    except WeightsError as error:
        return error.problems
    return []


def _num_keypoints(trial: TrialSpec) -> int:
    return trial.model.keypoint_head.num_keypoints if trial.model.keypoint_head is not None else 0


def _data_problems(data: DataSpec, needs_masks: bool, num_keypoints: int) -> list[str]:
    """Reads every annotation of both splits and a sample of the pictures; shapes are ours and need no such check."""
    if data.format == "shapes" and not num_keypoints:
        return []
    if data.format != "shapes" and not data.train_annotations:
        return ["this preset has no data of its own: give a folder with --data FOLDER"]
    from raystudy.data import preflight as data_preflight

    return data_preflight.preflight(data, needs_masks=needs_masks, num_keypoints=num_keypoints)
