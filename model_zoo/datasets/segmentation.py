"""Datasets for semantic segmentation: a picture, and a mask of class indices beside it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from model_zoo.base.annotation import IGNORED
from model_zoo.base.spec import image_spec
from model_zoo.datasets.base import Sample
from model_zoo.datasets.downloaded import DatasetFile, Download, DownloadedDataset, reading
from model_zoo.datasets.images import image_tensor
from model_zoo.utils.errors import UserError
from model_zoo.utils.images import letterbox, load_stored_image, opened_image


class SegmentationDataset(DownloadedDataset):
    """Pictures letterboxed to the model's input; the target is uint8 [H, W] of class indices.

    The mask is scaled alike, but by the nearest pixel, and is `IGNORED` beside the picture.
    """

    #: By value in the mask's file: the class index, `IGNORED`, or -1 for a value that must not be there; int16 [256].
    classes: ClassVar[np.ndarray]

    task = "semantic segmentation"
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


def _label_table(classes: dict[int, int]) -> np.ndarray:
    """`classes` of a `SegmentationDataset`, from the class index by value in the file."""
    table = np.full(256, -1, np.int16)
    table[list(classes)] = list(classes.values())
    return table


_PAGE = "https://www.cityscapes-dataset.com/downloads (free account)"
_PICTURES = Download("leftImg8bit_trainvaltest.zip", _PAGE, "11 GB")
_MASKS = Download("gtFine_trainvaltest.zip", _PAGE, "241 MB")

#: The labels that are scored, in the order of their train ids: road, sidewalk, building, …, bicycle.
_SCORED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


class CityscapesDataset(SegmentationDataset):
    """`<data>/cityscapes/{leftImg8bit,gtFine}`: the 19 classes that are scored, by train id; all others are `IGNORED`.

    `test` is the list val (500 pictures in 3 cities), `calibration` the list train (2975 in 18 others). The stratum is
    the city.
    """

    name = "cityscapes"
    parts = (
        DatasetFile("leftImg8bit/train", _PICTURES),
        DatasetFile("leftImg8bit/val", _PICTURES),
        DatasetFile("gtFine/train", _MASKS),
        DatasetFile("gtFine/val", _MASKS),
    )
    published = 500 + 2975
    probe: ClassVar = {"image": image_spec(32, 64)}

    classes = _label_table(dict.fromkeys(range(34), IGNORED) | {v: rank for rank, v in enumerate(_SCORED)})

    def index(self) -> list[tuple[Path, Path]]:
        from torchvision.datasets import Cityscapes

        chosen = "val" if self.split == "test" else "train"
        listed = Cityscapes(self.root, split=chosen, mode="fine", target_type="semantic")
        pairs = zip(listed.images, listed.targets, strict=True)
        return sorted((Path(image), Path(masks[0])) for image, masks in pairs if image.endswith("_leftImg8bit.png"))

    def stratum(self, index: int) -> str:
        return self.items[index][0].parent.name


_VOC = Download(
    "VOCtrainval_11-May-2012.tar",
    "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
    "1.9 GB",
    "6cd6e144f989b92b3379bac3b3de84fd",
)


class VocDataset(SegmentationDataset):
    """`<data>/voc/VOCdevkit/VOC2012`: 21 classes with the background; borders of objects are `IGNORED`.

    `test` is the list val (1449 pictures), `calibration` the list train (1464).
    """

    name = "voc"
    parts = (DatasetFile("VOCdevkit/VOC2012", _VOC, "ImageSets/Segmentation/val.txt"),)
    published = 1449 + 1464
    probe: ClassVar = {"image": image_spec(64, 64)}
    classes = _label_table({**{index: index for index in range(21)}, 255: IGNORED})

    def index(self) -> list[tuple[Path, Path]]:
        from torchvision.datasets import VOCSegmentation

        chosen = "val" if self.split == "test" else "train"
        with reading(self.root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation" / f"{chosen}.txt"):
            listed = VOCSegmentation(self.root, year="2012", image_set=chosen)
        return [(Path(image), Path(mask)) for image, mask in zip(listed.images, listed.masks, strict=True)]
