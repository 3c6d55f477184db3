"""Expected GPU-hours of every experiment script at the paper's preset, before any hardware is at hand.

    python benchmarks/gpu_hours.py

An estimate to plan with, made of the iterations that the script's plan trains (shared trunks once, a search at most
its budget) and of one published speed: detectron2's Mask R-CNN R50-FPN with GN from random init takes 0.400 s an
iteration of 16 pictures on 8 V100 (its MODEL_ZOO.md, "GN (scratch)"). Other detectors are taken to be slower by their
FLOPs (benchmarks/architectures.py). Evaluation and pre-training are not in it. `raystudy calibrate` measures your
hardware. What it prints stands in experiments/README.md (a test compares).
"""

import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs as a file from anywhere

from benchmarks.architectures import count
from raystudy.commands.scripts import load_function
from raystudy.errors import SpecError
from raystudy.spec.model import ModelSpec
from raystudy.spec.plan import Plan, make_plan
from raystudy.spec.presets import load_preset
from raystudy.spec.search import SearchSpec
from raystudy.spec.trial import TrialSpec, replaced

SCRIPTS = sorted((Path(__file__).resolve().parent.parent / "experiments").glob("*.py"))
V100_S_PER_IMAGE = 0.400 * 8 / 16
"""GPU-seconds of one training picture of the detector that was timed."""

HEIGHT, WIDTH, CATEGORIES = 800, 1333, 80


@cache
def relative_cost(model: ModelSpec) -> float:
    """FLOPs of one picture, relative to the detector that was timed."""
    timed = load_preset("paper").base.model
    return _flops(model) / _flops(timed)


@cache
def _flops(model: ModelSpec) -> int:
    return count(model.backbone, model, HEIGHT, WIDTH, CATEGORIES).flops


def plan_hours(plan: Plan) -> float:
    """GPU-hours of training all segments of ``plan``, each once."""
    seconds = 0.0
    for segment in plan.segments:
        for piece in segment.pieces(segment.start):
            pictures = (piece.end - max(piece.start, segment.start)) * piece.spec.global_batch
            seconds += pictures * V100_S_PER_IMAGE * relative_cost(piece.spec.model)
    return seconds / 3600


def search_hours(search: SearchSpec) -> float:
    """GPU-hours of a search none of whose trials is stopped early: an upper bound."""
    seconds = 0.0
    for arm in search.arms:
        longest = max((search.trial(arm.name, {}), *search.corners(arm.name)), key=lambda trial: trial.schedule.total)
        pictures = search.budget(arm.name) * longest.schedule.total * longest.global_batch
        seconds += pictures * V100_S_PER_IMAGE * relative_cost(longest.model)
    return seconds / 3600


def script_hours(script: Path) -> float:
    """Of one script at the paper's preset."""
    preset = load_preset("paper")
    try:
        study = load_function(script, "study", "StudySpec")(preset)
    except SpecError:
        return search_hours(load_function(script, "search", "SearchSpec")(preset))
    return plan_hours(make_plan(_with_some_weights(trial) for _, trial in study.cells()))


def _with_some_weights(trial: TrialSpec) -> TrialSpec:
    """Whichever weights a pretrained trial starts from, it takes as long."""
    is_missing = trial.init.kind == "pretrained" and not trial.init.weights_id
    return replaced(trial, **{"init.weights_id": "any"}) if is_missing else trial


def rounded(hours: float) -> str:
    """Two digits: no estimate of this kind has more."""
    digits = max(0, len(str(int(hours))) - 2)
    return f"{round(hours, -digits):,.0f}"


def table() -> dict[str, str]:
    """Hours by the name of the script."""
    return {script.name: rounded(script_hours(script)) for script in SCRIPTS}


def main() -> None:
    """Print the table."""
    for name, hours in table().items():
        print(f"{name:32} {hours:>8} V100-hours")


if __name__ == "__main__":
    main()
