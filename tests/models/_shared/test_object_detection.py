"""The app around a detector: what it drops, where its boxes land, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from model_zoo.models._shared.object_detection.app import ObjectDetectionApp
from model_zoo.utils.errors import ModelZooError, UserError

PICTURE = Image.new("RGB", (200, 100), "white")


class Detector:
    """Gives the same candidates for every picture: rows of x1, y1, x2, y2, score, class on a canvas of 100 x 100."""

    def __init__(self, *rows: tuple[float, ...]) -> None:
        self.rows = torch.tensor(rows).reshape(1, -1, 6)
        self.seen: list[torch.Size] = []

    def __call__(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.seen.append(image.shape)
        return self.rows[..., :4], self.rows[..., 4], self.rows[..., 5].int()


def app(*rows: tuple[float, ...], **options: object) -> ObjectDetectionApp:
    return ObjectDetectionApp(Detector(*rows), ["cat", "dog"], 100, 100, **options)


def test_weak_and_overlapping_boxes_are_dropped_class_by_class() -> None:
    found = app(
        (10, 40, 30, 60, 0.6, 0),
        (10, 40, 31, 60, 0.9, 0),  # almost the same box
        (10, 40, 30, 60, 0.5, 1),  # the same box, another class
        (60, 40, 80, 60, 0.1, 0),  # too weak
        (60, 40, 80, 60, 0.3, 7),  # a class without a name
    ).predict(PICTURE)
    assert [(d.label, round(d.score, 3)) for d in found] == [("cat", 0.9), ("dog", 0.5), ("class 7", 0.3)]
    # The canvas holds the picture at half size, between 25 pixels of padding above and below.
    assert found[1].box == (20, 30, 60, 70)


def test_boxes_are_clipped_and_those_in_the_padding_dropped() -> None:
    detector = app((-50, 0, 150, 100, 0.9, 0), (10, 0, 30, 20, 0.8, 0))
    found = detector.predict(np.asarray(PICTURE))
    assert [d.box for d in found] == [(0, 0, 200, 100)]
    assert detector.model.seen == [(1, 3, 100, 100)]
    assert app().predict(PICTURE) == []


def test_drawing_leaves_the_picture_alone() -> None:
    detector = app((10, 40, 30, 60, 0.9, 0))
    drawn = detector.draw(PICTURE, detector.predict(PICTURE))
    assert drawn.size == PICTURE.size and PICTURE.getcolors() == [(20000, (255, 255, 255))]
    assert drawn.getpixel((40, 70)) != (255, 255, 255)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("column", [0, 4])
def test_no_nan_goes_through(column: int, value: float) -> None:
    row = [10.0, 40.0, 30.0, 60.0, 0.9, 0.0]
    row[column] = value
    with pytest.raises(ModelZooError, match="NaN or infinite"):
        app(tuple(row)).predict(PICTURE)


def test_what_is_no_detector_is_refused() -> None:
    classifier = ObjectDetectionApp(lambda image: torch.zeros(1, 1000), ["cat"], 32, 32)
    with pytest.raises(ModelZooError, match="a detector gives boxes"):
        classifier.predict(PICTURE)
    batch = ObjectDetectionApp(lambda image: (torch.zeros(2, 5, 4), torch.zeros(2, 5), torch.zeros(2, 5)), [], 32, 32)
    with pytest.raises(ModelZooError, match=r"\[2, 5, 4\]"):
        batch.predict(PICTURE)
    with pytest.raises(UserError, match=r"score_threshold is 1\.5"):
        app(score_threshold=1.5)
