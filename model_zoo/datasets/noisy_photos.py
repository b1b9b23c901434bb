"""The photographs that come with the packages, with noise on them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from PIL import Image

from model_zoo.datasets.photos import PhotosDataset

#: Standard deviation of the noise, of 255: the level that papers show most.
SIGMA = 25


class NoisyPhotosDataset(PhotosDataset):
    """Crops of photographs with Gaussian noise, the crop without it as target: float32 [3, H, W] in 0..1.

    The same places of the same photographs as `photos`, at full size. The noise of each sample is always the same.
    """

    name: ClassVar[str] = "noisy_photos"
    task: ClassVar[str] = "denoising"
    scale: ClassVar[int] = 1

    def spoil(self, crop: Image.Image, index: int) -> Image.Image:
        """The crop with the noise of sample `index`."""
        return with_noise(crop, index)


def with_noise(photo: Image.Image, seed: int) -> Image.Image:
    """A photograph with Gaussian noise, in 8 bits as a camera would store it."""
    noise = np.random.RandomState(seed).normal(scale=SIGMA, size=(photo.height, photo.width, 3))
    return Image.fromarray((np.asarray(photo) + noise).round().clip(0, 255).astype(np.uint8))
