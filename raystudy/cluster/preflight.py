"""Everything that can be refused before the first iteration, all of it at once."""

import os
from pathlib import Path

from raystudy.cluster.settings import RunSettings
from raystudy.errors import SpecError, StorageError, WeightsError
from raystudy.spec.data import DataSpec
from raystudy.spec.plan import Plan
from raystudy.spec.trial import TrialSpec
from raystudy.store import Store


def preflight(plan: Plan, settings: RunSettings) -> None:
    """Check storage, resources, weights and data of a plan.

    Raises:
        SpecError: with every problem found.
    """
    problems = _storage_problems(settings) + _resource_problems(plan, settings) + _weights_problems(plan)
    problems += settings.tracking.problems() if settings.tracking is not None else []
    asked = dict.fromkeys((t.data, t.model.mask_head is not None, _num_keypoints(t)) for t in plan.trials.values())
    for data, needs_masks, num_keypoints in asked:
        found = _data_problems(data, needs_masks, num_keypoints)
        problems += [problem for problem in found if problem not in problems]
    if problems:
        raise SpecError(problems)


def _storage_problems(settings: RunSettings) -> list[str]:
    try:
        Store.open(settings.storage, create=True)
    except StorageError as error:
        return [str(error)]
    return []


def _resource_problems(plan: Plan, settings: RunSettings) -> list[str]:
    """For a local Ray only; a cluster is asked when it is connected."""
    if os.environ.get("RAY_ADDRESS"):
        return []
    cpus = len(os.sched_getaffinity(0))
    workers = max(trial.workers for trial in plan.trials.values())
    needed = workers * settings.threads
    if needed <= cpus:
        return []
    return [
        f"a trial of {workers} workers with {settings.threads} threads each needs {needed} CPUs, but this machine has "
        f"{cpus}; take fewer --workers or --threads, or set RAY_ADDRESS to a larger cluster"
    ]


def _weights_problems(plan: Plan) -> list[str]:
    missing = {
        trial.init.weights_file
        for trial in plan.trials.values()
        if trial.init.weights_file and not os.path.isfile(trial.init.weights_file)
    }
    problems = [f"the weights file {path} does not exist; check --weights" for path in sorted(missing)]
    brought = [trial for trial in plan.trials.values() if os.path.isfile(trial.init.weights_file)]
    for trial in {(trial.model, trial.init.weights_file): trial for trial in brought}.values():
        problems += _misfits(trial)
    for recipe in plan.pretrainings.values():
        if recipe.data == "imagefolder" and not os.path.isdir(recipe.data_path):
            problems.append(
                f"pretrained {recipe.backbone} with norm {recipe.norm} has no weights, and no pictures to make them "
                "from: give a weights file with --weights FILE"
                + ("; BN weights do not fit a GN network" if recipe.norm == "gn" else "")
            )
    return problems


def _misfits(trial: TrialSpec) -> list[str]:
    """Why a weights file does not fit the trial's backbone, by loading it into one."""
    from raystudy.models.detector import build_detector
    from raystudy.models.initialization import load_backbone_weights

    detector = build_detector(trial.model, trial.data.num_categories, trial.evaluation)
    try:
        load_backbone_weights(detector, Path(trial.init.weights_file))
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
