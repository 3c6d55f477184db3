"""Commands on finished trials: `raystudy evaluate`, `export` and `predict`."""

import argparse
import dataclasses
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raystudy.cluster.settings import default_device
from raystudy.commands import EXIT_OK
from raystudy.commands.frame import Command, Subparsers, add_command, add_json_flag, print_json
from raystudy.console import make_console, text_table
from raystudy.errors import DataError, RaystudyError, SpecError
from raystudy.evaluations import StoredEvaluation, read_evaluation
from raystudy.exported import CARD_FILE, is_export, read_export
from raystudy.finished import FinishedTrial, find_finished
from raystudy.spec.evaluation import EvalSpec
from raystudy.store import Store

if TYPE_CHECKING:
    from raystudy.training.predict import Prediction

DEFAULT_STORAGE = "runs/demo"

_TRIAL = "id of a complete trial, or the beginning of it, also as STORAGE/TRIAL; `raystudy status` lists them"
_EVALUATE = """
raystudy evaluate tiny-gn-random-f100-6x-s0
  raystudy evaluate tiny-gn-random-f100-6x-s0 --scales 96,128,160 --flip --merge vote
  raystudy evaluate runs/mine/r50-gn-random --scales 400,500,600,700,900,1000,1100,1200 --flip --device cuda
"""
_KEPT = "What is found is kept in the storage; the same command again prints it."

_EXPORT = """
  raystudy export tiny-gn-random-f100-6x-s0 --output exported
  raystudy export runs/mine/r50-bn-random --output exported --format torchvision"""
_PREDICT = """
  raystudy predict tiny-gn-random-f100-6x-s0 --validation 8
  raystudy predict runs/mine/r50-gn-random street.jpg yard.jpg --score 0.7
  raystudy predict exported street.jpg --output drawn"""
_EXPORTED = "TRIAL may be a folder that `raystudy export` wrote."


def add(added: "Subparsers[Any]") -> None:
    """The commands on finished trials."""
    made = _trial_command(added, "evaluate", "evaluate a trial's final weights again", evaluate, _EVALUATE, _KEPT)
    made.add_argument("--scales", type=_sides, help="shorter sides of each picture, pixels, such as 400,600,800")
    made.add_argument("--max-side", type=int, help="longest side at any of the scales, pixels (default 2000)")
    made.add_argument("--flip", action="store_true", help="look at every picture in a mirror, too")
    made.add_argument("--merge", choices=("nms", "vote"), help="how boxes of all views become one (default nms)")
    made.add_argument("--score-threshold", type=float, help="least score of a detection")
    made.add_argument("--nms", type=float, metavar="IOU", help="overlap above which the weaker box goes")
    made.add_argument("--detections", type=int, help="most detections of a picture")
    _device_flags(made)
    add_json_flag(made)
    made = _trial_command(added, "export", "write a trial's final weights as a plain state dict", export, _EXPORT)
    made.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder, made when it is not there")
    made.add_argument(
        "--format", choices=("raystudy", "torchvision"), default="raystudy", help="whose names (default %(default)s)"
    )
    made = _trial_command(
        added, "predict", "draw what a trial's final weights find in pictures", predict, _PREDICT, _EXPORTED
    )
    made.add_argument("pictures", nargs="*", type=Path, metavar="IMAGE", help="picture files")
    made.add_argument("--validation", type=int, metavar="N", help="N validation pictures beside their annotations")
    made.add_argument("--output", type=Path, default=Path("predictions"), metavar="DIR", help="(default %(default)s)")
    made.add_argument("--score", type=float, default=0.5, help="least score of a detection (default %(default)s)")
    _device_flags(made)


def _trial_command(
    added: "Subparsers[Any]", name: str, text: str, function: Command, examples: str, notes: str = ""
) -> argparse.ArgumentParser:
    made = add_command(added, name, text, function, examples, notes)
    made.add_argument("trial", metavar="TRIAL", help=_TRIAL)
    made.add_argument("--storage", help=f"where the trial lies (default {DEFAULT_STORAGE})")
    return made


def _device_flags(made: argparse.ArgumentParser) -> None:
    made.add_argument("--device", choices=("cpu", "cuda"), help="cuda where this machine has a GPU, else cpu")
    made.add_argument("--threads", type=int, default=1, help="CPU threads (default %(default)s, as studies train)")


def evaluate(options: argparse.Namespace) -> int:
    """Evaluate a trial's final weights, or print what is kept of that."""
    trial = _checked_trial(options)
    evaluation = _evaluation(trial.spec.evaluation, options)
    if problems := evaluation.problems():
        raise SpecError(problems)
    known = read_evaluation(trial.store, trial.trial_id, evaluation)
    found = known or _evaluate(trial, evaluation, options)
    if options.json:
        print_json(_as_json(trial, found))
        return EXIT_OK
    console = make_console()
    console.print(f"{trial.trial_id}: {trial.record.iteration:,} iterations; {_views(evaluation)}", soft_wrap=True)
    console.print(text_table(_comparison(trial, found)))
    origin = "; evaluated before and kept in the storage" if known is not None else ""
    console.print(f"\n{found.num_images:,} pictures, AP in percent{origin}", soft_wrap=True, highlight=False)
    return EXIT_OK


def _evaluate(trial: FinishedTrial, evaluation: EvalSpec, options: argparse.Namespace) -> StoredEvaluation:
    from raystudy.training.evaluate import evaluate_trial

    return evaluate_trial(trial, evaluation, options.device or default_device(), options.threads)


def _as_json(trial: FinishedTrial, found: StoredEvaluation) -> dict[str, Any]:
    return {
        "trial_id": trial.trial_id,
        "iteration": found.iteration,
        "evaluation": dataclasses.asdict(found.evaluation),
        "num_images": found.num_images,
        "metrics": found.metrics,
        "trained_with": trial.record.metrics,
    }


def export(options: argparse.Namespace) -> int:
    """Write a trial's final weights into a folder."""
    trial = _checked_trial(options)
    from raystudy.api import commit
    from raystudy.training.export import export_trial

    card = export_trial(trial, options.output, options.format, commit())
    console = make_console()
    console.print(f"{trial.trial_id}: {trial.record.iteration:,} iterations", soft_wrap=True, highlight=False)
    for name in (card["weights"], CARD_FILE):
        console.print(f"  {options.output / name}", soft_wrap=True, highlight=False)
    if "torchvision" in card:
        given = ", ".join(f"{name}={value}" for name, value in card["torchvision"]["arguments"].items())
        built = f"torchvision.models.detection.{card['torchvision']['function']}({given})"
        console.print(f"It fits {built}", soft_wrap=True, highlight=False)
    return EXIT_OK


def predict(options: argparse.Namespace) -> int:
    """Draw what final weights find in pictures."""
    source, problems = None, _picture_problems(options)
    try:
        is_folder = is_export(Path(options.trial))
        source = read_export(Path(options.trial)) if is_folder else _checked_trial(options)
    except RaystudyError as error:
        problems.insert(0, str(error))
    if problems or source is None:
        raise SpecError(problems)
    from raystudy.training.predict import open_predictor

    predictor = open_predictor(source, options.score, options.device or default_device(), options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    taken = {path.resolve() for path in options.pictures}
    for given in options.pictures:
        try:
            _write(predictor.file(given), given.name, options.output, taken)
        except DataError as error:  # its head is that of a picture, its rest is not; the others can be drawn
            problems += error.problems
    for name, prediction in predictor.validation(options.validation or 0):
        _write(prediction, Path(name).name, options.output, taken)
    if problems:
        raise DataError(problems)
    return EXIT_OK


def _write(prediction: "Prediction", name: str, folder: Path, taken: set[Path]) -> None:
    """Write and tell; neither a picture that was given nor one that was just written is replaced."""
    stem = Path(name).stem
    suffixes = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    paths = (folder / f"{stem}{suffix}.png" for suffix in suffixes)
    path = next(path for path in paths if path.resolve() not in taken)
    taken.add(path.resolve())
    prediction.drawn.save(path, format="PNG")
    counts = ", ".join(f"{count} {category}" for category, count in prediction.counts.items())
    make_console().print(f"{name}: {counts or 'nothing'} -> {path}", soft_wrap=True, highlight=False)


def _picture_problems(options: argparse.Namespace) -> list[str]:
    from raystudy.data.pictures import unreadable

    problems = [problem for path in options.pictures if (problem := unreadable(path))]
    if not options.pictures and options.validation is None:
        problems.append("no pictures: name picture files, or give --validation N")
    if options.validation is not None and options.validation < 1:
        problems.append(f"--validation is {options.validation}, but must be at least 1")
    if not 0 <= options.score < 1:
        problems.append(f"--score is {options.score:g}, but must be in [0, 1)")
    if options.output.exists() and not options.output.is_dir():
        problems.append(f"--output {options.output} is a file, but must be a folder")
    return problems


def _checked_trial(options: argparse.Namespace) -> FinishedTrial:
    """The trial that the flags name: ``TRIAL`` with ``--storage``, or ``STORAGE/TRIAL``."""
    storage, _, name = options.trial.rpartition("/")
    if storage and options.storage:
        raise SpecError(f"{options.trial} names a storage, and --storage {options.storage} another; give one of them")
    return find_finished(Store.open(storage or options.storage or DEFAULT_STORAGE), name)


def _evaluation(own: EvalSpec, options: argparse.Namespace) -> EvalSpec:
    """The trial's evaluation with what the flags say."""
    given = {
        "scales": options.scales,
        "scales_max_side": options.max_side,
        "flip": options.flip or None,
        "merge": options.merge,
        "score_threshold": options.score_threshold,
        "nms_iou": options.nms,
        "detections_per_image": options.detections,
    }
    return dataclasses.replace(own, **{name: value for name, value in given.items() if value is not None})


def _views(evaluation: EvalSpec) -> str:
    """How each picture is looked at, in words."""
    sizes = f"shorter sides {', '.join(map(str, evaluation.scales))}" if evaluation.scales else "the test size"
    mirrored = ", each also mirrored" if evaluation.flip else ""
    merged = f", merged by {evaluation.merge}" if evaluation.is_augmented else ""
    return f"{sizes}{mirrored}{merged}, scores from {evaluation.score_threshold:g}"


def _comparison(trial: FinishedTrial, found: StoredEvaluation) -> list[list[str]]:
    """One line a metric: the trial's own final row, the new value, the difference."""
    before = trial.record.metrics
    rows = [["metric", "trained with", "now", "difference"]]
    for name in dict.fromkeys([*before, *found.metrics]):
        old, new = before.get(name), found.metrics.get(name)
        difference = "" if old is None or new is None else f"{new - old:+.2f}"
        rows.append([name.replace("_", " "), *("" if v is None else f"{v:.2f}" for v in (old, new)), difference])
    return rows


def _sides(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(",") if word.strip())
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers such as 400,600,800") from error
