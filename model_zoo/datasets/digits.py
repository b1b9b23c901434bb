"""The 1797 handwritten digits that scikit-learn carries (UCI "Optical Recognition of Handwritten Digits")."""

from __future__ import annotations

from functools import cache
from importlib import metadata

import numpy as np

from model_zoo.base.spec import ColorOrder, InputSpec
from model_zoo.datasets.base import BaseDataset, Sample, Split
from model_zoo.datasets.images import image_input
from model_zoo.utils.errors import ModelZooError, UserError
from model_zoo.utils.hashing import digest

_COUNT = 1797
_TEST_PER_CLASS = 36
_SEED = 0


class DigitsDataset(BaseDataset):
    """Pictures [1, 1, 8, 8] in 0..1, ink bright on black, with the digit as target.

    360 pictures, 36 of each digit, are held out for `test`. All others are `calibration`; digits_cnn was trained on
    them too.
    """

    name, task = "digits", "image classification"
    bundled = True

    def __init__(self, spec: InputSpec, split: Split) -> None:
        super().__init__(spec, split)
        self._input, tensor = image_input(spec, self.name)
        fits = tensor.shape[2:] == (8, 8) and tensor.color_order is ColorOrder.GRAY
        if not fits or tensor.dtype != "float32" or tensor.value_range not in (None, (0.0, 1.0)):
            raise UserError(f"digits are grey float32 pictures of 8 x 8 in 0..1, the model takes {tensor.to_json()}")

    def __len__(self) -> int:
        return 10 * _TEST_PER_CLASS if self.split == "test" else _COUNT - 10 * _TEST_PER_CLASS

    def __getitem__(self, index: int) -> Sample:
        images, targets = digits(self.split)
        return Sample({self._input: images[index : index + 1]}, int(targets[index]))

    def fingerprint(self) -> str:
        return digest(self.name, self.split, metadata.version("scikit-learn"), _TEST_PER_CLASS, _SEED)


@cache
def digits(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """All pictures of a split, float32 [N, 1, 8, 8] in 0..1, and their digits, int64 [N].

    Raises:
        ModelZooError: scikit-learn carries other data than expected.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    images = (data.images[:, None] / 16).astype(np.float32)
    if len(images) != _COUNT:
        raise ModelZooError(f"scikit-learn carries {len(images)} digits, expected {_COUNT}")
    order = np.random.RandomState(_SEED).permutation(_COUNT)  # numpy has frozen this generator
    held_out = np.concatenate([order[data.target[order] == digit][:_TEST_PER_CLASS] for digit in range(10)])
    chosen = np.isin(np.arange(_COUNT), held_out, invert=split == "calibration")
    return images[chosen], data.target[chosen].astype(np.int64)
