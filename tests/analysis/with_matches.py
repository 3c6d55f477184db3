"""A synthetic study whose final evaluations left their matches, from simulated detectors of known skill."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from analysis.bootstrap import average_precision, summary
from benchmarks.coco_reference import all_matches, stored_matches
from benchmarks.simulated_detections import detect, ground_truth
from raystudy import atomic
from raystudy.evaluation.matches import Matches
from raystudy.spec.trial import TrialSpec
from tests.analysis.synthetic import Truth, trial, write_study

Skill = Callable[[TrialSpec], float]


def write_study_with_matches(
    storage: Path, trials: Sequence[TrialSpec], skill: Skill, truth: Truth, *, num_images: int = 100
) -> str:
    """Like ``write_study``; the last evaluation of each trial has the AP of its simulated detector."""
    pictures = ground_truth(num_images, 3, seed=5)
    finals: dict[str, float] = {}
    matches: dict[str, Matches] = {}
    for number, spec in enumerate(trials):
        found = detect(pictures, skill(spec), 2.0, seed=100 + number)
        matches[spec.trial_id] = all_matches(pictures, found)
        ap = average_precision(stored_matches(pictures, found, storage), np.ones((num_images, 1), dtype=np.float32))
        finals[spec.trial_id] = float(summary(ap)[0])

    def scaled(spec: TrialSpec, iteration: int) -> Mapping[str, float]:
        """The truth's curve, stretched so that it ends at the detector's AP."""
        values = dict(truth(spec, iteration))
        factor = finals[spec.trial_id] / max(1e-9, truth(spec, spec.schedule.total)["box_ap"])
        if iteration > spec.schedule.milestones[0]:
            values |= {name: value * factor for name, value in values.items() if "_ap" in name}
        return values

    name = write_study(storage, trials, scaled)
    for spec in trials:

        def fill(folder: Path, found: Matches = matches[spec.trial_id]) -> None:
            for kind in ("box", "mask"):
                found.save(folder / f"{kind}.npz")

        folder = storage / "segments" / f"{spec.trial_id}-branch" / "matches" / str(spec.schedule.total)
        atomic.publish_folder(folder, fill)
    return name


def demo_specs(seeds: tuple[int, ...] = (0, 1, 2), ks: tuple[int, ...] = (1, 2, 4, 6)) -> list[TrialSpec]:
    """{random, pretrained} x schedules x seeds."""
    return [trial(init, k, seed) for init in ("random", "pretrained") for k in ks for seed in seeds]
