"""The app of segmentation models tells any number of classes apart."""

from __future__ import annotations

import numpy as np
import torch

from model_zoo.models._shared.segmentation.app import SegmentationApp
from model_zoo.utils.draw import colour


def test_more_classes_than_a_byte_counts() -> None:
    """Class 255 means "not scored" in targets of datasets, and nothing special here."""

    def model(image: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(1, 300, *image.shape[2:])
        logits[:, 255, :, :128], logits[:, 299, :, 128:] = 1, 1
        return logits

    app = SegmentationApp(model)
    picture = np.zeros((256, 256, 3), np.uint8)
    found = app.predict(picture)
    assert found.shares() == {255: 0.5, 299: 0.5}
    drawn = np.asarray(app.draw(picture, found))[-1]
    for column, index in ((0, 255), (255, 299)):
        assert np.abs(drawn[column] - np.array(colour(index)) / 2).max() < 2
