"""What somebody has who follows the documentation: a checkout, data, pictures, weights, and presets that end soon."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raystudy.cluster.weights import make_weights
from raystudy.models.detector import build_detector
from raystudy.models.torchvision_names import torchvision_model
from raystudy.spec import presets
from raystudy.spec.data import ShapesSpec
from raystudy.spec.presets import Preset, load_preset, shapes_data
from raystudy.spec.schedule import ScheduleSpec
from raystudy.spec.trial import TrialSpec
from raystudy.store import Store
from tests.data.synthetic import annotation, write_coco
from tests.documents import ROOT
from tests.finished_trials import placed
from tests.picture_folders import write_pictures
from tests.tiny_trials import settings, tiny_recipe, tiny_trial

UNIT = 9
"""Iterations of 1x: the fewest of which both drops fall on whole ones."""

SIDE = 64
"""Of every picture, pixels."""


def tiny_preset(name: str) -> Callable[[], Preset]:
    """The preset ``name``, smaller than ``smoke``: its shortest and its longest schedule, one seed, a picture of 64 px
    an iteration, a pre-training of three iterations. What ``paper`` has not got by itself is missing here, too."""
    real = load_preset(name)
    base = dataclasses.replace(
        tiny_trial(),
        schedule=ScheduleSpec.from_units(1, UNIT, warmup_iterations=2),
        data=shapes_data(ShapesSpec(num_train=12, num_val=3, image_size=SIDE)),
        images_per_worker=1,
        eval_interval=2 * UNIT,
        log_interval=UNIT,
    )
    recipe = tiny_recipe(iterations=3)
    if real.base.data.format != "shapes":
        assert real.pretraining is not None
        base = dataclasses.replace(base, data=real.base.data)
        recipe = dataclasses.replace(recipe, data=real.pretraining.data, data_checksum=real.pretraining.data_checksum)
    shortest, longest = real.schedules[0], real.schedules[-1]
    return lambda: Preset(
        name=name,
        base=base,
        unit=UNIT,
        schedules=(shortest, longest),
        compared_at=shortest,
        seeds=(0,),
        pretraining=recipe,
    )


def shrink_presets(patch: pytest.MonkeyPatch) -> None:
    """From now on each preset is the tiny one of its name, 1x does not grow with data, and no process loads it."""
    patch.setattr("raystudy.flags._loaders", lambda study: 0)
    patch.setattr("raystudy.data.defaults.LONGEST_DEMO", 1)
    for name in list(presets.PRESETS):
        patch.setitem(presets.PRESETS, name, tiny_preset(name))


def settle_in(home: Path) -> None:
    """Lay out in ``home`` what the commands of the documentation name."""
    for entry in ROOT.iterdir():
        if not entry.name.startswith(".") and entry.name not in ("runs", "predictions", "exported"):
            (home / entry.name).symlink_to(entry)
    (home / ".venv").mkdir()
    (home / ".venv" / ".installed").touch()  # what `make` looks at
    _write_data(home)
    write_pictures(home / "path" / "to" / "pictures", train=4, val=2)
    (home / "path" / "to" / "imagenet").symlink_to("pictures")
    for name in ("street.jpg", "yard.jpg"):
        shutil.copy(home / "path" / "to" / "data" / "images" / "train0.png", home / name)
    _write_weights(home / "resnet50_gn.pth")
    model = torchvision_model(2, "bn")
    spec = dataclasses.replace(tiny_trial(), model=model, schedule=ScheduleSpec.from_units(6, UNIT))
    place_trial(home / "runs" / "mine", spec)


def place_trial(storage: Path, spec: TrialSpec) -> None:
    """A complete trial with weights that nobody trained, for what the commands need and only GPUs can make."""
    model = build_detector(spec.model, spec.data.num_categories, spec.evaluation)
    placed(Store.open(storage, create=True), spec, model)


def _write_weights(path: Path) -> None:
    """Weights for the tiny detector, whatever their name says."""
    storage = path.parent / "made"
    shutil.copy(make_weights(tiny_recipe(iterations=3), settings(storage), in_workers=False) / "weights.pt", path)
    shutil.rmtree(storage)


def _write_data(home: Path) -> None:
    """One data set of ten and three pictures under every name and in every form that the documentation gives it."""
    data = home / "path" / "to" / "data"
    for split, number in (("train", 10), ("val", 3)):
        images = [{"id": i, "file_name": f"{split}{i}.png", "width": SIDE, "height": SIDE} for i in range(number)]
        objects = [annotation(i, i, 5, 4 + i, 6, 20, 18) for i in range(number)]
        objects += [annotation(number + i, i, 2, 30, 10 + i, 22, 29) for i in range(number)]
        categories = [{"id": 5, "name": "nut"}, {"id": 2, "name": "bolt"}]
        content = {"images": images, "categories": categories, "annotations": objects}
        write_coco(data, content, f"instances_{split}.json")
        people = {"categories": [{"id": 5, "name": "nut", "keypoints": ["left_eye", "right_eye", "nose"]}]}
        points = {"keypoints": [5, 7, 2, 12, 9, 2, 16, 20, 2], "num_keypoints": 3}
        people["annotations"] = [found | points for found in objects[:number]]
        write_coco(data, content | people, f"person_keypoints_{split}.json")
        (home / f"{split}.json").symlink_to(data / f"instances_{split}.json")
    (home / "pictures").symlink_to(data / "images")
    for name in ("coco", "dsb2018_small"):
        (home / "path" / "to" / name).symlink_to("data")
    _write_voc(home / "path" / "to" / "VOCdevkit" / "MINE")


def _write_voc(year: Path) -> None:
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (year / folder).mkdir(parents=True, exist_ok=True)
    box = "<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>30</xmax><ymax>28</ymax></bndbox>"
    size = f"<size><width>{SIDE}</width><height>{SIDE}</height></size>"
    for name, label in (("a", "dog"), ("b", "cat"), ("c", "dog")):
        Image.fromarray(np.full((SIDE, SIDE, 3), 90, np.uint8)).save(year / "JPEGImages" / f"{name}.jpg")
        found = f"<object><name>{label}</name><difficult>0</difficult>{box}</object>"
        (year / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size}{found}</annotation>")
    for split, names in (("train", "a\nb\n"), ("val", "c\n")):
        (year / "ImageSets" / "Main" / f"{split}.txt").write_text(names)
