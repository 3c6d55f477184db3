"""Which evaluations show pictures, and how instances become a mask."""

from raystudy.cluster.tracked_runs import is_shown
from raystudy.cluster.tracking_media import mask_of


def test_pictures_grow_with_the_logarithm_of_the_evaluations() -> None:
    assert [n for n in range(101) if is_shown(n * 5000, 5000)] == [1, 2, 4, 8, 16, 32, 64]
    assert not is_shown(5001, 5000)


def test_the_better_instance_lies_on_top_and_holes_stay_holes() -> None:
    square = [2, 2, 12, 2, 12, 12, 2, 12]
    hole = [5, 5, 8, 5, 8, 8, 5, 8]
    labels = mask_of(
        [{"outline": [square, hole], "label": 1}, {"outline": [[0, 0, 4, 0, 4, 4, 0, 4]], "label": 2}], (16, 16)
    )
    assert labels[10, 10] == 1
    assert labels[6, 6] == 0
    assert labels[3, 3] == 1
    assert labels[0, 0] == 2
    assert not mask_of([{"outline": None, "label": 1}], (4, 4)).any()
