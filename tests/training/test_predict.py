"""Predictions: what the detector finds in a picture, at the place where it lies, in any picture that can be read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from raystudy.data.batch import Batch, Detections
from raystudy.data.splits import category_names
from raystudy.errors import DataError
from raystudy.evaluation.drawing import LEAST_LONG_SIDE, colour_of
from raystudy.models.detector import Detector, build_detector
from raystudy.spec.trial import TrialSpec
from raystudy.training.predict import Predictor, read_any
from tests.tiny_trials import tiny_trial

NAMES = ["disc", "triangle", "square", "star", "cross", "crescent"]


class _Known(Detector):
    """Finds a disc in the left half of every picture, and a weak star everywhere."""

    def detect(self, batch: Batch) -> list[Detections]:
        height, width = batch.sizes[0]
        self.seen = batch.sizes[0]
        boxes = torch.tensor([[0.0, 0.0, width / 2, height], [0.0, 0.0, width, height]])
        masks = torch.ones(2, 16, 16)
        return [Detections(boxes, torch.tensor([0.9, 0.3]), torch.tensor([1, 4]), masks)]


def _predictor(spec: TrialSpec, least_score: float = 0.5) -> Predictor:
    return Predictor(_Known(spec.model, 6, spec.evaluation), spec, NAMES, least_score)


def test_what_is_found_is_counted_and_drawn_where_it_lies() -> None:
    picture = np.full((60, 120, 3), 90, dtype=np.uint8)
    found = _predictor(tiny_trial()).picture(picture)
    assert found.counts == {"disc": 1}
    drawn = np.asarray(found.drawn)
    assert drawn.shape == (LEAST_LONG_SIDE // 2, LEAST_LONG_SIDE, 3)
    is_untouched = (drawn == 90).all(-1)
    assert is_untouched[:, LEAST_LONG_SIDE // 2 + 20 :].all()
    assert is_untouched[:, : LEAST_LONG_SIDE // 2 - 20].mean() < 0.01
    assert _predictor(tiny_trial(), 0.2).picture(picture).counts == {"disc": 1, "star": 1}


def test_pictures_are_looked_at_as_in_the_trials_evaluation() -> None:
    picture = np.zeros((50, 200, 3), dtype=np.uint8)
    plain, scaled = tiny_trial(), tiny_trial(**{"evaluation.scales": (64,)})
    for spec, size in ((plain, (16, 64)), (scaled, (50, 200))):  # with scales every view is made from the whole
        model = _Known(spec.model, 6, spec.evaluation)
        Predictor(model, spec, NAMES, 0.5).picture(picture)
        assert model.seen == size


def test_validation_pictures_are_drawn_beside_their_annotations() -> None:
    found = list(_predictor(tiny_trial()).validation(2))
    assert len(found) == 2
    for name, prediction in found:
        assert name.endswith(".png")
        assert prediction.drawn.width > 2 * LEAST_LONG_SIDE
        assert colour_of(1) in set(map(tuple, np.asarray(prediction.drawn).reshape(-1, 3).tolist()))


def test_a_real_detector_draws_without_detections_too() -> None:
    spec = tiny_trial()
    model = build_detector(spec.model, 6, spec.evaluation).eval()
    found = Predictor(model, spec, NAMES, 0.999).picture(np.zeros((64, 64, 3), dtype=np.uint8))
    assert found.counts == {}


def test_pictures_of_any_kind_are_read(tmp_path: Path) -> None:
    Image.new("L", (30, 20), 77).save(tmp_path / "grey.png")
    assert (read_any(tmp_path / "grey.png") == np.full((20, 30, 3), 77)).all()
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(DataError, match="no picture that can be read"):
        read_any(tmp_path / "text.jpg")
    with pytest.raises(DataError, match="is not there"):
        read_any(tmp_path / "nothing.jpg")


def test_the_names_of_the_categories_are_those_that_were_learned() -> None:
    assert category_names(tiny_trial().data) == NAMES
    fewer = category_names(tiny_trial(**{"data.num_categories": 3}).data)
    assert len(fewer) == 3
    assert [name for name in NAMES if name in fewer] == fewer
