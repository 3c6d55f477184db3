"""The bootstrap of AP over pictures, against running COCOeval on every draw; the same AP as pycocotools'."""

import tempfile
from pathlib import Path

import numpy as np

from analysis.bootstrap import average_precision, draw_images, summary
from benchmarks.coco_reference import cocoeval_ap, stored_matches
from benchmarks.row import Outcome, Row
from benchmarks.simulated_detections import detect, ground_truth, resampled
from benchmarks.timing import seconds_of

DRAWS = 1000
TOLERANCE = 1e-9
"""Of an AP in percent."""


def _bootstrap(quick: bool) -> Outcome:
    num_pictures, draws = (300, 10) if quick else (5000, DRAWS)
    with tempfile.TemporaryDirectory() as folder:
        worst = _largest_difference(Path(folder), 2 if quick else 6)
        truth = ground_truth(num_pictures, 80, objects_per_image=7.3)
        found = detect(truth, 0.7, 60.0, seed=1)
        matches = stored_matches(truth, found, Path(folder))
    ours = seconds_of(lambda: summary(average_precision(matches, draw_images(num_pictures, draws))))
    one = seconds_of(lambda: cocoeval_ap(truth, found))
    note = (
        f"{draws:,} draws of {num_pictures:,} pictures, 80 categories, {len(found):,} boxes; the peer is one COCOeval "
        f"({one:.1f} s) times {draws:,}; AP of 20 categories on single draws differs by {worst:.0e} at most"
    )
    return Outcome([ours], [draws * one], is_right=worst <= TOLERANCE, note=note)


def _largest_difference(folder: Path, draws: int) -> float:
    """Between our AP and pycocotools' on resampled pictures, over all categories and IoU thresholds."""
    truth = ground_truth(300, 20, objects_per_image=7)
    found = detect(truth, 0.7, 15.0, seed=1)
    weights = np.concatenate([np.ones((300, 1), dtype=np.float32), draw_images(300, draws - 1)], axis=1)
    ap = average_precision(stored_matches(truth, found, folder), weights)
    differences = []
    for draw in range(weights.shape[1]):
        reference = cocoeval_ap(*resampled(truth, found, weights[:, draw].astype(int).tolist()))[0]
        if (np.isnan(reference) != np.isnan(ap[..., draw])).any():
            return float("inf")
        differences.append(np.nanmax(np.abs(ap[..., draw] - reference)))
    return float(max(differences))


ROWS = (
    Row(
        name="bootstrap",
        what="1,000 bootstrap draws of AP on COCO's validation set",
        against="COCOeval on every draw",
        measure=_bootstrap,
        at_least=100,
    ),
)
