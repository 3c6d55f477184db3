"""Drawings: masks let the picture through, boxes and names are where they belong, nothing falls outside."""

import numpy as np
import pytest

from raystudy.evaluation.drawing import (
    LEAST_LONG_SIDE,
    OPACITY,
    Drawn,
    colour_of,
    draw_instances,
    drawing_size,
    side_by_side,
)

GREY = np.full((400, 600, 3), 100, dtype=np.uint8)


def _mask(x1: int, y1: int, x2: int, y2: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    mask = np.zeros(GREY.shape[:2], dtype=bool)
    mask[y1:y2, x1:x2] = True
    return mask


def test_a_mask_mixes_the_picture_with_the_colour_of_its_category() -> None:
    drawn = np.asarray(draw_instances(GREY, [Drawn(1, "disc 0.90", (100, 100, 300, 300), _mask(150, 150, 250, 250))]))
    inside = [round(100 * (1 - OPACITY) + OPACITY * part) for part in colour_of(1)]
    assert np.abs(drawn[200, 200].astype(int) - inside).max() <= 1
    assert tuple(drawn[150, 200]) == colour_of(1)  # its rim
    assert tuple(drawn[120, 200]) == (100, 100, 100)  # inside the box, outside the mask
    assert tuple(drawn[200, 100]) == colour_of(1)  # the box


def test_categories_have_colours_of_their_own() -> None:
    colours = {colour_of(label) for label in range(1, 81)}
    assert len(colours) == 80


def test_the_most_certain_lies_on_top() -> None:
    one, other = (
        Drawn(1, "a", (50, 200, 250, 390), _mask(50, 200, 250, 390)),
        Drawn(2, "b", (50, 200, 250, 390), _mask(50, 200, 250, 390)),
    )
    drawn = np.asarray(draw_instances(GREY, [one, other]))
    assert tuple(drawn[300, 50]) == colour_of(2)


@pytest.mark.parametrize("box", [(-50.0, -50.0, 30.0, 30.0), (590.0, 390.0, 700.0, 500.0), (5.0, 5.0, 5.0, 5.0)])
def test_a_box_at_or_over_the_edge_is_drawn_inside(box: tuple[float, float, float, float]) -> None:
    drawn = np.asarray(draw_instances(GREY, [Drawn(3, "a long name 0.99", box)]))
    assert drawn.shape == GREY.shape
    assert (drawn == colour_of(3)).all(-1).any()


def test_names_of_boxes_at_one_place_do_not_cover_each_other() -> None:
    box = (100.0, 100.0, 400.0, 300.0)
    drawn = np.asarray(draw_instances(GREY, [Drawn(1, "disc 0.60", box), Drawn(2, "star 0.70", box)]))
    plates = [(drawn == colour_of(label)).all(-1) for label in (1, 2)]
    assert min(plate[:98].sum() + plate[303:].sum() for plate in plates) > 100


def test_only_keypoints_that_are_to_be_shown_are_marked() -> None:
    points = np.array([[200.0, 200.0, 1.0], [300.0, 200.0, 0.0]])
    drawn = np.asarray(draw_instances(GREY, [Drawn(1, "p", (100, 100, 400, 300), None, points)]))
    assert tuple(drawn[200, 200]) == (255, 255, 255)
    assert tuple(drawn[200, 300]) == (100, 100, 100)


def test_lines_join_keypoints_that_are_both_shown() -> None:
    points = np.array([[150.0, 200.0, 1.0], [250.0, 200.0, 1.0], [350.0, 200.0, 0.0]])
    one = Drawn(1, "p", (100, 100, 400, 300), None, points)
    drawn = np.asarray(draw_instances(GREY, [one], skeleton=[(0, 1), (1, 2)]))
    assert tuple(drawn[200, 200]) == colour_of(1)
    assert tuple(drawn[200, 300]) == (100, 100, 100)


def test_small_pictures_are_enlarged_and_large_ones_are_not() -> None:
    assert drawing_size(128, 64) == (LEAST_LONG_SIDE, LEAST_LONG_SIDE // 2)
    assert drawing_size(1500, 1000) == (1500, 1000)


def test_pictures_stand_side_by_side_below_their_captions() -> None:
    picture = draw_instances(GREY, [])
    sheet = side_by_side([picture, picture], ["annotated: 2", "found: 3"])
    assert sheet.width > 2 * picture.width
    assert sheet.height > picture.height
    assert (np.asarray(sheet)[:40] < 128).any()  # the captions
