"""Drawing makes a copy, and takes any picture and any box."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from model_zoo.utils.draw import Box, colour, draw_boxes, overlay_classes


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_boxes_are_drawn_on_a_copy_the_first_on_top(mode: str) -> None:
    picture = Image.new(mode, (50, 50))
    before = picture.tobytes()
    drawn = draw_boxes(picture, [Box((5, 30, 20, 45), "", 0), Box((5, 30, 40, 45), "", 1)])
    assert drawn.mode == "RGB" and picture.tobytes() == before
    assert drawn.getpixel((5, 45)) == colour(0) != colour(1) == drawn.getpixel((40, 45))
    assert draw_boxes(picture, [Box((-1e4, -9, 1e4, 1e4), "all of it", 2)]).size == (50, 50)


def test_areas_get_the_colour_of_their_class_over_half_the_picture() -> None:
    drawn = np.asarray(overlay_classes(Image.new("L", (6, 4), 200), np.array([[0, 1, 255]]), ignored=255))
    assert drawn.shape == (4, 6, 3) and (drawn[:, 4:] == 200).all()
    for column, index in ((0, 0), (2, 1)):
        assert np.abs(drawn[0, column] - (np.array(colour(index)) + 200) / 2).max() <= 1
