"""What pre-trained weights have seen: kept, read without torch, and never guessed."""

from pathlib import Path

import pytest

from raystudy import atomic
from raystudy.provenance import WeightsProvenance, with_images
from raystudy.store import Store

MADE = WeightsProvenance(
    source="raystudy pretrain", images_seen=100, pixels_nominal_seen=100 * 224 * 224, pixels_measured_seen=100 * 48 * 48
)


def test_it_is_read_back_from_the_storage_and_fields_of_other_versions_are_left_out(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s", create=True)
    assert store.weights_provenance("w") is None

    def fill(folder: Path) -> None:
        atomic.write_json(folder / "provenance.json", {**MADE.to_dict(), "colour": "blue"})

    store.files.publish(store.weights_place("w"), fill)
    assert store.weights_provenance("w") == MADE


def test_a_picture_of_classification_counts_as_one_instance() -> None:
    assert MADE.instances_seen is None
    assert MADE.exposure() == {
        "images": 100.0,
        "instances": 100.0,
        "pixels_nominal": 100.0 * 224 * 224,
        "pixels_measured": 100.0 * 48 * 48,
    }


def test_what_nobody_knows_is_not_there_and_what_the_user_says_is() -> None:
    unknown = WeightsProvenance(source="file")
    assert unknown.exposure() == {}
    told = with_images(unknown, 128_116_700)
    assert told.exposure()["pixels_nominal"] == pytest.approx(6.428e12, rel=1e-3)  # paper.md section 4: 6.4T of 9.5T
    assert "pixels_measured" not in told.exposure()
