"""The bootstrap's two claims: the same AP as pycocotools, and fast enough for COCO.

    python benchmarks/bootstrap.py

Exit status 1 when a number differs from pycocotools by more than rounding, or when 1,000 draws of 5,000 pictures
with 80 categories take 60 s of CPU time or more. Also prints how many times longer COCOeval itself would take.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from coco_reference import cocoeval_ap, stored_matches
from simulated_detections import detect, ground_truth, resampled

from analysis.bootstrap import average_precision, draw_images, summary

LIMIT_S = 60.0
DRAWS = 1000


def main() -> int:
    """Print the findings; 1 when a claim does not hold."""
    with tempfile.TemporaryDirectory() as folder:
        worst = _largest_difference(Path(folder))
        seconds, cocoeval_seconds = _seconds(Path(folder))
    print(f"largest difference from pycocotools, 6 draws of 300 pictures, 20 categories: {worst:.1e} AP")
    print(f"{DRAWS} draws of 5,000 pictures x 80 categories: {seconds:.1f} s CPU (limit {LIMIT_S:.0f} s)")
    print(
        f"COCOeval needs {cocoeval_seconds:.1f} s CPU for one: {DRAWS * cocoeval_seconds / seconds:,.0f} times as long"
    )
    return int(worst > 1e-9 or seconds >= LIMIT_S)


def _largest_difference(folder: Path) -> float:
    truth = ground_truth(300, 20, objects_per_image=7)
    found = detect(truth, 0.7, 15.0, seed=1)
    weights = np.concatenate([np.ones((300, 1), dtype=np.float32), draw_images(300, 5)], axis=1)
    ap = average_precision(stored_matches(truth, found, folder), weights)
    differences = []
    for draw in range(weights.shape[1]):
        reference = cocoeval_ap(*resampled(truth, found, weights[:, draw].astype(int).tolist()))[0]
        assert (np.isnan(reference) == np.isnan(ap[..., draw])).all()
        differences.append(np.nanmax(np.abs(ap[..., draw] - reference)))
    return float(max(differences))


def _seconds(folder: Path) -> tuple[float, float]:
    truth = ground_truth(5000, 80, objects_per_image=7.3)
    found = detect(truth, 0.7, 60.0, seed=1)
    matches = stored_matches(truth, found, folder)
    print(f"{len(matches.scores):,} detections, {len(matches.object_image):,} objects", flush=True)
    start = time.process_time()
    drawn = summary(average_precision(matches, draw_images(5000, DRAWS)))
    seconds = time.process_time() - start
    print(f"AP {drawn.mean():.2f}, standard deviation over draws {drawn.std():.2f}", flush=True)
    start = time.process_time()
    cocoeval_ap(truth, found)
    return seconds, time.process_time() - start


if __name__ == "__main__":
    sys.exit(main())
