"""Photographs: what is bundled, cut and made smaller."""

from __future__ import annotations

import numpy as np
import pytest

from model_zoo.base.spec import image_spec
from model_zoo.datasets import load_dataset
from model_zoo.datasets import photos as module
from model_zoo.datasets.photos import SIGMA, PhotosDataset, enlarge, photos
from model_zoo.utils.errors import ModelZooError, UserError


def test_splits_share_no_photograph() -> None:
    paths = {split: {photo[:2] for photo in listed} for split, listed in module._PHOTOS.items()}
    assert not paths["test"] & paths["calibration"]
    assert len(photos("test")) == 3 and len(photos("calibration")) == 9


def test_the_target_is_the_photograph_and_the_input_its_small_copy() -> None:
    dataset = PhotosDataset({"image": image_spec(48, 64)}, "test")
    assert len(dataset) == 36
    first, last = dataset[0], dataset[35]
    assert first.inputs["image"].shape == (1, 3, 48, 64) and first.target.shape == (3, 192, 256)
    assert (first.target.dtype, first.inputs["image"].dtype) == (np.float32, np.float32)
    photo = np.asarray(photos("test")[2], np.float32).transpose(2, 0, 1) / 255
    assert np.array_equal(last.target, photo[:, -192:, -256:]), "the last crop is the lower right corner"
    means = first.target.reshape(3, 48, 4, 64, 4).mean(axis=(2, 4))
    assert np.abs(means - first.inputs["image"][0]).mean() < 0.01
    assert [dataset.stratum(index) for index in (0, 11, 12, 35)] == [0, 0, 1, 2]


def test_crops_that_no_photograph_has_room_for() -> None:
    with pytest.raises(UserError, match="too small for inputs of 128 x 128"):
        PhotosDataset({"image": image_spec(128, 128)}, "test")


def test_another_file_than_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module._PHOTOS, "test", (("skimage", "data/chelsea.png", "0" * 16),))
    photos.cache_clear()
    try:
        with pytest.raises(ModelZooError, match=r"skimage carries another data/chelsea\.png"):
            photos("test")
    finally:
        photos.cache_clear()


def test_enlarge_keeps_what_is_smooth() -> None:
    ramp = np.linspace(0.2, 0.8, 16, dtype=np.float32)
    larger = enlarge(np.tile(ramp, (3, 16, 1)))
    assert larger.shape == (3, 64, 64) and larger.dtype == np.float32
    assert np.abs(np.diff(larger[0, 32, 8:-8]) - (0.6 / 15 / 4)).max() < 1e-3


def test_noise_is_on_the_input_alone_and_always_the_same() -> None:
    spec = {"image": image_spec(96, 128)}
    dataset = load_dataset("noisy_photos", spec, "test")
    first, again, other = dataset[5], load_dataset("noisy_photos", spec, "test")[5], dataset[6]
    assert first.target.shape == (3, 96, 128) and first.inputs["image"].shape == (1, 3, 96, 128)
    assert np.array_equal(first.inputs["image"], again.inputs["image"])
    noise, others = first.inputs["image"][0] - first.target, other.inputs["image"][0] - other.target
    unclipped = (first.target > 0.4) & (first.target < 0.6)
    assert abs(noise[unclipped].std() * 255 - SIGMA) < 1
    assert np.abs(np.corrcoef(noise.ravel(), others.ravel())[0, 1]) < 0.02
