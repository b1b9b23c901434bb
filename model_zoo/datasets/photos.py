"""Photographs that scikit-image and scikit-learn carry inside their wheels: made smaller by four, or with noise."""

from __future__ import annotations

from functools import cache
from importlib import metadata
from importlib.resources import as_file, files
from typing import ClassVar

import numpy as np
from PIL import Image

from model_zoo.base.spec import InputSpec
from model_zoo.datasets.base import BaseDataset, Sample, Split
from model_zoo.datasets.images import image_input, image_tensor
from model_zoo.utils.download import has_checksum
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.hashing import digest
from model_zoo.utils.images import image_to_array, load_image

#: How many times larger the target is than the input.
SCALE = 4

#: Standard deviation of the noise, of 255: the level that papers show most.
SIGMA = 25

#: Package, path in it and the first digits of the sha256. Chosen by eye before anything was trained: pictures that a
#: camera took of the world. Left out are drawings, text, microscopy, the sky, blurred ones, and the right half of the
#: stereo pair whose left half is here. Each photograph belongs to one split.
_PHOTOS: dict[Split, tuple[tuple[str, str, str], ...]] = {
    "calibration": (
        ("skimage", "data/astronaut.png", "88431cd9653ccd53"),
        ("skimage", "data/brick.png", "7966caf324f6ba84"),
        ("skimage", "data/camera.png", "b0793d2adda0fa6a"),
        ("skimage", "data/coins.png", "f8d773fc9cfa6f4d"),
        ("skimage", "data/grass.png", "b6b6022426b38936"),
        ("skimage", "data/gravel.png", "c48615b451bf1e60"),
        ("skimage", "data/motorcycle_left.png", "db18e9c415761740"),
        ("skimage", "data/rocket.jpg", "c2dd0de7c538df8d"),
        ("sklearn", "datasets/images/flower.jpg", "a77f6ec41e353afd"),
    ),
    "test": (
        ("skimage", "data/chelsea.png", "596aa1e7cb875eb7"),
        ("skimage", "data/coffee.png", "cc02f8ca188b167c"),
        ("sklearn", "datasets/images/china.jpg", "8378025ad2519d64"),
    ),
}

#: Places in a photograph, row by row: crops of different photographs share nothing, those of one photograph overlap.
_ROWS, _COLUMNS = 3, 4
_CROPS = _ROWS * _COLUMNS


class PhotosDataset(BaseDataset):
    """Crops of photographs, made smaller, with the crop itself as target: float32 [3, 4 H, 4 W] in 0..1.

    Twelve places in each of three photographs are `test`; nine other photographs are `calibration`, and xlsr was
    trained on them too. An input of H x W pixels is a crop of 4 H x 4 W made smaller by Pillow's bicubic filter, which
    widens with the factor as it should.
    """

    name, task = "photos", "super-resolution"
    bundled = True
    scale: ClassVar[int] = SCALE

    def __init__(self, spec: InputSpec, split: Split) -> None:
        super().__init__(spec, split)
        self._input, tensor = image_input(spec, self.name)
        self._height, self._width = tensor.shape[2:]
        images = photos(split)
        height, width = (min(picture.size[axis] for picture in images) // self.scale for axis in (1, 0))
        if self._height > height or self._width > width:
            raise UserError(
                f"{self.name} are too small for inputs of {self._height} x {self._width}", f"at most {height} x {width}"
            )

    def __len__(self) -> int:
        return _CROPS * len(_PHOTOS[self.split])

    def __getitem__(self, index: int) -> Sample:
        photo = photos(self.split)[self.stratum(index)]
        height, width = self.scale * self._height, self.scale * self._width
        row, column = divmod(index % _CROPS, _COLUMNS)
        top, left = (photo.height - height) * row // (_ROWS - 1), (photo.width - width) * column // (_COLUMNS - 1)
        crop = photo.crop((left, top, left + width, top + height))
        spoilt = image_tensor(self.spoil(crop, index), self.spec[self._input])
        return Sample({self._input: spoilt}, image_to_array(crop)[0])

    def spoil(self, crop: Image.Image, index: int) -> Image.Image:
        """The input of sample `index`, whose target is this crop."""
        return shrink(crop)

    def stratum(self, index: int) -> int:
        return index // _CROPS

    def fingerprint(self) -> str:
        pillow = metadata.version("pillow")
        return digest(self.name, self.split, _PHOTOS[self.split], _CROPS, self._height, self._width, pillow)


class NoisyPhotosDataset(PhotosDataset):
    """Crops of photographs with Gaussian noise, the crop without it as target: float32 [3, H, W] in 0..1.

    The same places of the same photographs as `photos`, at full size. The noise of each sample is always the same.
    """

    name, task = "noisy_photos", "denoising"
    scale: ClassVar[int] = 1

    def spoil(self, crop: Image.Image, index: int) -> Image.Image:
        return with_noise(crop, index)


@cache
def photos(split: Split) -> tuple[Image.Image, ...]:
    """The photographs of a split as RGB; grey ones have three equal channels.

    Raises:
        ModelZooError: A package carries another file than expected, or none.
    """
    images = []
    for package, path, sha256 in _PHOTOS[split]:
        with as_file(files(package) / path) as file:
            if not file.is_file() or not has_checksum(file, sha256):
                raise ModelZooError(
                    f"{package} carries another {path} than expected, or none: {file}",
                    "install the pinned scikit-image and scikit-learn again",
                )
            images.append(load_image(file))
    return tuple(images)


def shrink(photo: Image.Image) -> Image.Image:
    """A picture at a fourth of its height and width, cut off to whole pixels."""
    return photo.resize((photo.width // SCALE, photo.height // SCALE), Image.Resampling.BICUBIC)


def enlarge(picture: np.ndarray) -> np.ndarray:
    """What a network has to beat: bicubic enlargement, float32 [3, H, W] to [3, 4 H, 4 W], all in 0..1."""
    planes = [Image.fromarray(plane) for plane in picture]  # mode F
    size = (SCALE * picture.shape[2], SCALE * picture.shape[1])
    larger = np.stack([np.asarray(plane.resize(size, Image.Resampling.BICUBIC)) for plane in planes])
    return larger.clip(0, 1)


def with_noise(photo: Image.Image, seed: int) -> Image.Image:
    """A photograph with Gaussian noise, in 8 bits as a camera would store it."""
    noise = np.random.RandomState(seed).normal(scale=SIGMA, size=(photo.height, photo.width, 3))
    return Image.fromarray((np.asarray(photo) + noise).round().clip(0, 255).astype(np.uint8))
