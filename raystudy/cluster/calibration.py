"""Measuring speeds where trials will run: a Ray task with the resources of one worker for each distinct model."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from raystudy.cluster.settings import RunSettings
from raystudy.cluster.tuner import connected
from raystudy.spec.cost import Calibration, Speed, pretraining_key, speed_key
from raystudy.spec.identity import from_dict, to_dict
from raystudy.spec.plan import Plan
from raystudy.spec.trial import PretrainSpec, TrialSpec
from raystudy.store import Store

CALIBRATION_FILE = "calibration.json"


def calibrate(plan: Plan, settings: RunSettings, iterations: int) -> Iterator[tuple[str, Calibration]]:
    """Measure what the storage's calibration lacks of ``plan``, one after another, keeping each when it is known.

    Yields what was measured (a trial's or weights' id) and the calibration with it.

    Raises:
        DataError: the data cannot be used.
    """
    store = Store.open(settings.storage)
    trials = {speed_key(trial): trial for trial in plan.trials.values()}
    recipes = {pretraining_key(recipe): recipe for recipe in plan.pretrainings.values()}
    with connected([], settings) as settings:
        import ray

        use_gpu = settings.device == "cuda"
        measure = ray.remote(num_cpus=settings.threads, num_gpus=int(use_gpu), max_retries=0)(_measure)
        device = ray.get(measure.remote("device", {}, dataclasses.asdict(settings), iterations))
        kept = read_calibration(store)
        if kept is None or (kept.device, kept.threads) != (device, settings.threads):  # other hardware, other speeds
            kept = Calibration(device=device, threads=settings.threads)
        for key, trial in trials.items():
            if key not in kept.speeds:
                found = ray.get(measure.remote("trial", to_dict(trial), dataclasses.asdict(settings), iterations))
                kept = dataclasses.replace(kept, speeds={**kept.speeds, key: from_dict(Speed, found)})
                _keep(store, kept)
                yield trial.trial_id, kept
        for key, recipe in recipes.items():
            if key not in kept.pretraining:
                seconds = ray.get(measure.remote("recipe", to_dict(recipe), dataclasses.asdict(settings), iterations))
                kept = dataclasses.replace(kept, pretraining={**kept.pretraining, key: seconds})
                _keep(store, kept)
                yield recipe.weights_id, kept


def read_calibration(store: Store) -> Calibration | None:
    """What was measured for this storage; None when nothing was."""
    content = store.files.read_json(CALIBRATION_FILE)
    return None if content is None else from_dict(Calibration, content, CALIBRATION_FILE)


def _keep(store: Store, calibration: Calibration) -> None:
    store.files.write_json(CALIBRATION_FILE, to_dict(calibration))


def _measure(what: str, spec: dict[str, Any], settings: dict[str, Any], iterations: int) -> Any:
    """In a process of its own, on the machine where a trial would run."""
    import platform

    import torch

    from raystudy.training.calibration import measure_pretraining, measure_speed

    torch.set_num_threads(settings["threads"])
    device = torch.device(settings["device"])
    loaders = settings["loader_processes"]
    if what == "trial":
        return to_dict(measure_speed(TrialSpec.from_dict(spec), device, iterations, loaders))
    if what == "recipe":
        return measure_pretraining(from_dict(PretrainSpec, spec, "recipe"), device, iterations, loaders)
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU with {settings['threads']} thread" + ("s" if settings["threads"] > 1 else "")
