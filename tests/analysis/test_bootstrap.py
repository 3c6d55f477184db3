"""AP under image weights, against pycocotools and against a population of which everything is known."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from analysis.bootstrap import AREAS, StoredMatches, average_precision, draw_images, read_matches, summary
from benchmarks.coco_reference import cocoeval_ap, stored_matches
from benchmarks.simulated_detections import detect, ground_truth, resampled
from raystudy.errors import StorageError


def test_all_weights_1_is_pycocotools_on_every_number(tmp_path: Path) -> None:
    truth = ground_truth(60, 6)
    found = detect(truth, 0.7, 4.0, seed=1)
    matches = stored_matches(truth, found, tmp_path)
    reference = cocoeval_ap(truth, found)
    ones = np.ones((60, 1), dtype=np.float32)
    for a, area in enumerate(AREAS):
        np.testing.assert_allclose(average_precision(matches, ones, area)[..., 0], reference[a], rtol=1e-12)
    everything = summary(average_precision(matches, ones))[0]
    assert everything == pytest.approx(np.nanmean(reference[0]), rel=1e-12)


def test_a_draw_is_cocoeval_on_the_drawn_pictures(tmp_path: Path) -> None:
    truth = ground_truth(50, 8, objects_per_image=3)
    found = detect(truth, 0.6, 6.0, seed=2)
    matches = stored_matches(truth, found, tmp_path)
    weights = draw_images(50, 5)
    assert (weights.sum(axis=0) == 50).all()
    ap = average_precision(matches, weights)
    for draw in range(5):
        reference = cocoeval_ap(*resampled(truth, found, weights[:, draw].astype(int).tolist()))
        np.testing.assert_allclose(ap[..., draw], reference[0], rtol=1e-12)


def test_a_detector_that_finds_nothing_has_ap_0(tmp_path: Path) -> None:
    truth = ground_truth(10, 2)
    found = detect(truth, 1e-9, 3.0, seed=0)
    ap = average_precision(stored_matches(truth, found, tmp_path), draw_images(10, 3))
    assert np.nanmax(ap) < 1.0


def test_matches_of_another_version_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", version=99)
    with pytest.raises(StorageError, match="version 99"):
        read_matches((tmp_path / "other.npz").read_bytes(), "other.npz")
    with pytest.raises(StorageError, match="not written by raystudy"):
        read_matches(b"torn", "torn.npz")


def test_intervals_cover_the_populations_difference(tmp_path: Path) -> None:
    """500 samples of 120 pictures out of 12,000: the 95% interval of ΔAP holds the population's ΔAP in 93-97%."""
    size, samples, sample_size = 12_000, 500, 120
    truth = ground_truth(size, 2, objects_per_image=3)
    population = [stored_matches(truth, detect(truth, skill, 2.0, s), tmp_path) for s, skill in ((1, 0.62), (2, 0.66))]
    ones = np.ones((size, 1), dtype=np.float32)
    expected = np.subtract(*(summary(average_precision(one, ones))[0] for one in population))
    rng, covered = np.random.default_rng(0), 0
    weights = draw_images(sample_size, 300)
    for _ in range(samples):
        chosen = np.sort(rng.choice(size, sample_size, replace=False))
        drawn = [summary(average_precision(_only(one, chosen), weights)) for one in population]
        low, high = np.percentile(drawn[0] - drawn[1], [2.5, 97.5])
        covered += low <= expected <= high
    assert 0.93 <= covered / samples <= 0.97


def _only(matches: StoredMatches, images: np.ndarray) -> StoredMatches:
    """The matches of some pictures."""
    position = np.full(len(matches.image_ids), -1)
    position[images] = np.arange(len(images))
    detections = position[matches.detection_image] >= 0
    objects = position[matches.object_image] >= 0
    return dataclasses.replace(
        matches,
        image_ids=matches.image_ids[images],
        detection_category=matches.detection_category[detections],
        detection_image=position[matches.detection_image[detections]],
        scores=matches.scores[detections],
        matched=matches.matched[:, :, detections],
        ignored=matches.ignored[:, :, detections],
        object_category=matches.object_category[objects],
        object_image=position[matches.object_image[objects]],
        object_ignored=matches.object_ignored[:, objects],
    )
