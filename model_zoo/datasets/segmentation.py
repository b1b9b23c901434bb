"""What the datasets for semantic segmentation have in common: a picture and a mask of class indices beside it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from model_zoo.base.annotation import IGNORED
from model_zoo.datasets.base import Sample
from model_zoo.datasets.downloaded import DownloadedDataset
from model_zoo.datasets.images import image_tensor
from model_zoo.utils.errors import UserError
from model_zoo.utils.images import letterbox, load_stored_image, opened_image


class SegmentationDataset(DownloadedDataset):
    """Pictures letterboxed to the model's input; the target is uint8 [H, W] of class indices.

    The mask is scaled alike, but by the nearest pixel, and is `IGNORED` beside the picture.
    """

    #: By value in the mask's file: the class index, `IGNORED`, or -1 for a value that must not be there; int16 [256].
    classes: ClassVar[np.ndarray]

    items: list[tuple[Path, Path]]

    def files(self) -> list[Path]:
        return [path for item in self.items for path in item]

    def __getitem__(self, index: int) -> Sample:
        path, mask_path = self.items[index]
        image = load_stored_image(path)
        with opened_image(mask_path) as stored:
            values = np.asarray(stored)
        if values.shape != (image.height, image.width) or values.dtype != np.uint8:
            raise UserError(f"{mask_path} is {values.dtype}{list(values.shape)}, not a mask of {path}")
        labels = self.classes[values]
        if labels.min() < 0:
            raise UserError(f"{mask_path} holds the label {values[labels < 0][0]}, which {self.name} has not")
        picture, scale, (left, top) = letterbox(image, self.height, self.width)
        size = (min(self.width, round(image.width * scale)), min(self.height, round(image.height * scale)))
        canvas = Image.new("L", picture.size, IGNORED)
        mask = Image.fromarray(labels.astype(np.uint8))
        canvas.paste(mask.resize((max(1, size[0]), max(1, size[1])), Image.Resampling.NEAREST), (left, top))
        return Sample({self.input: image_tensor(picture, self.tensor)}, np.array(canvas))


def label_table(classes: dict[int, int]) -> np.ndarray:
    """`classes` of a `SegmentationDataset`, from the class index by value in the file."""
    table = np.full(256, -1, np.int16)
    table[list(classes)] = list(classes.values())
    return table
