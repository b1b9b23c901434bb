"""Drawn scenes with masks."""

from __future__ import annotations

import numpy as np

from model_zoo.base.spec import image_spec
from model_zoo.datasets.scenes import draw_scene
from model_zoo.datasets.scenes_segmentation import MASK_CLASSES, ScenesSegmentationDataset


def test_mask_and_picture_are_of_one_scene() -> None:
    dataset = ScenesSegmentationDataset({"image": image_spec(96, 96)}, "test")
    sample, scene = dataset[3], draw_scene("test", 3, 96)
    assert len(dataset) == 400 and sample.target.dtype == np.uint8
    assert np.array_equal(sample.target, scene.mask)
    assert np.array_equal(np.rint(255 * sample.inputs["image"][0]), scene.picture.transpose(2, 0, 1))
    assert {MASK_CLASSES[index] for index in np.unique(sample.target)[1:]} == {
        MASK_CLASSES[1 + kind] for kind in scene.classes
    }
