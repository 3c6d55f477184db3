"""Trials on pictures of files: what a machine keeps of them decides no bit."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from raystudy.cluster.worker import run_segment
from raystudy.data.resolve import resolve_data
from raystudy.data.splits import open_split_once
from raystudy.spec.plan import make_plan
from tests.cluster.without_ray import FakeRun, flat, last_state, rows_of
from tests.data.synthetic import annotation, write_coco
from tests.tiny_trials import results, settings, tiny_trial


def folder_of_photographs(folder: Path) -> Path:
    """Two splits of three JPEGs, two objects each."""
    images = [{"id": n, "file_name": f"{n}.jpg", "width": 90 + n, "height": 70} for n in range(3)]
    objects = [annotation(2 * n + m, n, 1 + m, 8 + 30 * m, 9 + n, 25, 20 + m) for n in range(3) for m in range(2)]
    categories = [{"id": 1, "name": "nut"}, {"id": 2, "name": "bolt"}]
    for split in ("train", "val"):
        content = {"images": images, "annotations": objects, "categories": categories}
        write_coco(folder, content, f"instances_{split}.json")
    rng = np.random.default_rng(0)
    for image in images:
        pixels = rng.integers(0, 256, (70, image["width"], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / str(image["file_name"]))
    return folder


def test_trials_have_the_same_bits_without_a_store_with_an_empty_and_with_a_full_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSTUDY_CACHE", str(tmp_path / "cache"))
    data = resolve_data(str(folder_of_photographs(tmp_path / "photographs")))
    sizes = {"input.train_short_sides": (48, 64), "input.max_side": 96, "model.mask_head": None}
    trial = tiny_trial(total=4, before_end=2, data=data, **sizes)
    plan = make_plan([trial])
    outcomes = []
    for name, gib in (("without", 0.0), ("empty", 0.01), ("full", 0.01)):
        open_split_once.cache_clear()  # as in a process of its own
        given = dataclasses.replace(settings(tmp_path / name), cache_gib=gib)
        for segment in plan.segments:
            run_segment(segment, given, FakeRun())
        outcomes.append((results(rows_of(plan, trial, given)), flat(last_state(plan, trial, given))))
        assert bool(list((tmp_path / "cache").glob("pictures/*/*/*"))) == (gib > 0)
    rows, weights = outcomes[0]
    for other_rows, other_weights in outcomes[1:]:
        assert other_rows == rows
        assert [key for key in weights if not torch.equal(weights[key], other_weights[key])] == []
