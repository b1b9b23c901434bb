"""Photographs with noise."""

from __future__ import annotations

import numpy as np

from model_zoo.base.spec import image_spec
from model_zoo.datasets import load_dataset
from model_zoo.datasets.noisy_photos import SIGMA


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
