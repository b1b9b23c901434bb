"""Drawn scenes are the same everywhere, and their boxes and masks are right."""

from __future__ import annotations

import numpy as np
import pytest

from model_zoo.base.spec import image_spec
from model_zoo.datasets import load_dataset
from model_zoo.datasets.scenes import CLASSES, MASK_CLASSES, ScenesSegmentationDataset, draw_scene
from model_zoo.utils.errors import UserError
from model_zoo.utils.hashing import digest


def test_scenes_are_the_same_on_every_machine() -> None:
    scene = draw_scene("test", 3, 160)
    assert digest(scene.picture.tobytes().hex(), scene.mask.tobytes().hex()) == (
        "74f1a7a20af240fd4dc2323fe6898b9e4ce29b69e09f9f70a2be45aafa0553e2"
    )


@pytest.mark.parametrize("index", range(5))
def test_boxes_hold_what_the_mask_shows(index: int) -> None:
    scene = draw_scene("train", index, 128)
    assert len(scene.boxes) == len(scene.classes) > 0
    covered = np.zeros_like(scene.mask, bool)
    for (x1, y1, x2, y2), kind in zip(scene.boxes.astype(int), scene.classes, strict=True):
        assert 0 <= x1 < x2 <= 128 and 0 <= y1 < y2 <= 128
        window = scene.mask[y1:y2, x1:x2] == kind + 1
        assert window.any(axis=0)[[0, -1]].all() and window.any(axis=1)[[0, -1]].all()
        covered[y1:y2, x1:x2] |= window
    assert np.array_equal(covered, scene.mask > 0)


def test_streams_share_no_scene_and_classes_are_all_drawn() -> None:
    drawn = {stream: [draw_scene(stream, i, 32) for i in range(20)] for stream in ("train", "calibration", "test")}
    pictures = [scene.picture.tobytes() for scenes in drawn.values() for scene in scenes]
    assert len(set(pictures)) == len(pictures)
    assert set(np.concatenate([s.classes for s in drawn["test"]])) == set(range(len(CLASSES)))


def test_dataset_fits_the_input() -> None:
    dataset = load_dataset("scenes", {"image": image_spec(64, 64)}, "test")
    sample = dataset[0]
    assert sample.inputs["image"].shape == (1, 3, 64, 64) and sample.inputs["image"].dtype == np.float32
    assert sample.target.boxes.max() <= 64
    with pytest.raises(UserError, match="square"):
        load_dataset("scenes", {"image": image_spec(64, 96)}, "test")


def test_mask_and_picture_are_of_one_scene() -> None:
    dataset = ScenesSegmentationDataset({"image": image_spec(96, 96)}, "test")
    sample, scene = dataset[3], draw_scene("test", 3, 96)
    assert len(dataset) == 400 and sample.target.dtype == np.uint8
    assert np.array_equal(sample.target, scene.mask)
    assert np.array_equal(np.rint(255 * sample.inputs["image"][0]), scene.picture.transpose(2, 0, 1))
    assert {MASK_CLASSES[index] for index in np.unique(sample.target)[1:]} == {
        MASK_CLASSES[1 + kind] for kind in scene.classes
    }
