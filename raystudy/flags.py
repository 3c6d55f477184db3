"""The flags that every experiment takes, and the study and settings that follow from them."""

import argparse
import dataclasses
import math
from collections.abc import Callable

from raystudy.cluster.settings import RunSettings, study_device
from raystudy.cluster.tracking import TrackingSettings
from raystudy.data_flags import add_pair_flags, add_subset_flags, named_data, names_data, with_subsets
from raystudy.errors import SpecError
from raystudy.files import storage_location
from raystudy.spec.data import DataSpec
from raystudy.spec.linear_scaling import with_batch
from raystudy.spec.presets import PRESETS, Preset, init_axis, load_preset, norm_axis, schedule_axis, seed_axis
from raystudy.spec.search import SearchSpec
from raystudy.spec.study import StudySpec, with_workers
from raystudy.weights_flags import add_weights_flags, with_weights

StudyFunction = Callable[[Preset], StudySpec]

DEFAULT_PRESET = "demo"


def add_study_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that every experiment takes."""
    what = parser.add_argument_group("what to train")
    add_trial_flags(what)
    add_subset_flags(what)
    what.add_argument("--schedules", type=_floats, help="multiples of the unit, such as 1,2,4")
    what.add_argument("--unit", type=int, help="iterations of 1x; the preset's when not given")
    what.add_argument("--seeds", type=_seeds, help="a number of seeds, or a list such as 0,3,")
    what.add_argument("--inits", type=_words, help="random, pretrained or both (default)")
    what.add_argument("--norm", type=_words, help="gn, sync_bn, bn, frozen_bn or none, or several: gn,bn")
    what.add_argument("--batch", type=int, help="images of an iteration over all workers; rate and schedules follow")
    what.add_argument("--precision", choices=("fp32", "bf16"), help="of the arithmetic")
    what.add_argument("--train-ap", type=int, metavar="N", help="score N training images at every evaluation too")
    how = parser.add_argument_group("how to run it")
    add_run_flags(how)
    how.add_argument("--price-per-hour", type=float, help="of one device, to show money beside device-hours")
    how.add_argument("--budget", metavar="HOURS", help="device-hours that the study may take, such as 200gpuh")
    how.add_argument(
        "--drop", type=_words, default=("seed",), help="axes that may lose levels for the budget, in order (seed)"
    )
    how.add_argument("--no-share", action="store_true", help="train every trial alone instead of sharing trunks")
    how.add_argument(
        "--crossover", type=float, metavar="DELTA", help="bisect for the schedule where random init is within DELTA AP"
    )


def add_trial_flags(what: "argparse._ArgumentGroup") -> None:
    """The flags that say what the trials of anything are made of."""
    what.add_argument("--preset", choices=tuple(PRESETS), help=f"the scale (default {DEFAULT_PRESET})")
    what.add_argument("--data", help="a folder in COCO, VOC or YOLO format; the embedded shapes when not given")
    add_pair_flags(what)
    add_weights_flags(what)
    what.add_argument("--workers", type=int, help="workers of a trial; the global batch stays")


def add_run_flags(how: "argparse._ArgumentGroup") -> None:
    """The flags on where and with what anything runs."""
    how.add_argument("--storage", help="where rows, checkpoints and report live (default runs/PRESET)")
    how.add_argument("--plan", action="store_true", help="print the plan and train nothing")
    how.add_argument("--threads", type=int, default=1, help="CPU threads of a worker (default %(default)s)")
    text = "cuda where this machine, or the cluster as it is or may grow, has a GPU, else cpu (auto, the default)"
    how.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help=text)
    how.add_argument("--priority", type=int, default=0, help="the higher one of a cluster's studies gets room first")
    text = "how long to wait when the cluster is too small for a trial; 0 is for ever (default %(default)g)"
    how.add_argument("--wait-minutes", type=float, default=60.0, help=text)
    how.add_argument("--retry-failed", action="store_true", help="try trials again that have failed for good")
    text = "tell on stderr what starts, ends, fails and waits: one line each, as text or JSON"
    how.add_argument("--log-format", choices=("text", "json"), help=text)
    how.add_argument("--loader-processes", type=int, help="processes that prepare a worker's batches")
    how.add_argument("--cache-gib", type=float, metavar="GIB", help="of resized pictures kept by a machine; 0 for none")
    how.add_argument("--wandb", metavar="PROJECT[/ENTITY]", help="log every trial to Weights & Biases")
    how.add_argument("--tensorboard", action="store_true", help="write every trial's rows for TensorBoard")
    how.add_argument("--wandb-offline", action="store_true", help="keep W&B runs on disk, to sync later")
    how.add_argument("--wandb-weights", action="store_true", help="upload the final weights of every trial to W&B")


def build_study(function: StudyFunction, options: argparse.Namespace) -> StudySpec:
    """The script's study with the command line's overrides.

    Raises:
        RaystudyError: what was asked cannot be; all problems at once.
    """
    preset = chosen_preset(function, options, options.unit)
    study = function(preset)
    return overridden(
        dataclasses.replace(study, preset=preset.name, unit=preset.unit, pretraining=preset.pretraining), options
    )


def chosen_preset(
    function: Callable[[Preset], StudySpec | SearchSpec], options: argparse.Namespace, unit: int | None = None
) -> Preset:
    """The preset that the flags name, on the data that they name, for what ``function`` makes of it.

    Raises:
        RaystudyError: what was asked cannot be; all problems at once.
    """
    preset = load_preset(options.preset or DEFAULT_PRESET)
    if names_data(options):
        # Studies of keypoints read other annotations of the same folder; they are known by what they make of a preset.
        has_keypoints = function(preset).base.model.keypoint_head is not None
        found = on_data(preset, named_data(options, with_keypoints=has_keypoints))
        preset = found if unit is None else dataclasses.replace(preset, base=found.with_unit(preset.unit).base)
    preset = preset if unit is None else dataclasses.replace(preset, unit=unit)
    schedules = getattr(options, "schedules", None)
    return preset.with_schedules(schedules) if schedules else preset


def check_flags_of_file(options: argparse.Namespace) -> None:
    """A study file has its scale and data in it; flags that a script would build them from cannot count.

    Raises:
        SpecError: such a flag was given.
    """
    given = [f"--{name}" for name in ("preset", "unit", "data", "train", "val") if getattr(options, name) is not None]
    if given:
        raise SpecError(f"{', '.join(given)} cannot change a study file: edit it, or give the script that made it")


def overridden(study: StudySpec, options: argparse.Namespace) -> StudySpec:
    """``study`` with what the command line says of its axes and of every trial."""
    axes = [schedule_axis(options.schedules, study.unit, study.base.schedule)] if options.schedules else []
    axes += [seed_axis(options.seeds)] if options.seeds else []
    axes += [init_axis(options.inits)] if options.inits else []
    axes += [norm_axis(options.norm)] if options.norm else []
    study = with_subsets(study, options)
    for axis in axes:
        study = study.with_axis(axis)
    if options.train_ap is not None:
        evaluation = dataclasses.replace(study.base.evaluation, train_images=options.train_ap)
        study = dataclasses.replace(study, base=dataclasses.replace(study.base, evaluation=evaluation))
    if options.precision:
        study = dataclasses.replace(study, base=dataclasses.replace(study.base, precision=options.precision))
    if options.workers is not None:
        study = with_workers(study, options.workers)
    if options.batch is not None:
        study = with_batch(study, options.batch)
    study = with_weights(study, options)
    if options.crossover is not None:
        study = dataclasses.replace(study, crossover_delta=options.crossover)
    return study


def build_settings(study: StudySpec | SearchSpec, options: argparse.Namespace) -> RunSettings:
    """Where and with what the study or search runs."""
    storage = storage_location(options.storage or f"runs/{study.preset}")
    return RunSettings(
        storage=storage,
        study=study.name,
        threads=options.threads,
        device=study_device() if options.device == "auto" else options.device,
        priority=options.priority,
        wait_minutes=options.wait_minutes,
        retry_failed=options.retry_failed,
        loader_processes=options.loader_processes if options.loader_processes is not None else _loaders(study),
        cache_gib=_cache_gib(options),
        tracking=_tracking(options, storage),
        tensorboard=options.tensorboard,
    )


def _tracking(options: argparse.Namespace, storage: str) -> TrackingSettings | None:
    if options.wandb is None:
        if options.wandb_offline or options.wandb_weights:
            raise SpecError("--wandb-offline and --wandb-weights need a project: add --wandb PROJECT")
        return None
    return TrackingSettings.parse(
        options.wandb, offline=options.wandb_offline, folder=storage, weights=options.wandb_weights
    )


def _cache_gib(options: argparse.Namespace) -> float | None:
    gib: float | None = options.cache_gib
    if gib is not None and not 0 <= gib < math.inf:
        raise SpecError(f"--cache-gib is {gib:g}, but must be 0 (resized pictures are not kept) or more")
    return gib


def _loaders(study: StudySpec | SearchSpec) -> int:
    """Small pictures live in memory and need no process; COCO's are decoded by four a worker."""
    return 4 if study.preset == "paper" else 0


def on_data(preset: Preset, data: DataSpec) -> Preset:
    """The preset on a user's data; the recipe of ``paper`` stays, smaller presets take what the data asks for.

    In the demo that is also a 1x that follows the number of training pictures (``raystudy.data.defaults.demo_unit``).
    """
    from raystudy.data.defaults import demo_unit
    from raystudy.data.resolve import data_defaults

    base = dataclasses.replace(preset.base, data=data)
    if preset.name == "paper":
        return dataclasses.replace(preset, base=base)
    found = data_defaults(data)
    preset = dataclasses.replace(preset, base=found.applied_to(base))
    if preset.name != "demo":
        return preset
    batch = base.workers * base.images_per_worker
    return preset.with_unit(demo_unit(found.statistics.num_train_images, batch, preset.unit))


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _floats(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in _words(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 1,2,4") from error


def _seeds(text: str) -> tuple[int, ...]:
    try:
        numbers = [int(word) for word in _words(text)]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of seeds nor a list such as 0,3") from error
    return tuple(numbers) if "," in text else tuple(range(numbers[0]))
