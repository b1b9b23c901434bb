"""Cityscapes segmentation, fine annotations."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from model_zoo.base.annotation import IGNORED
from model_zoo.base.spec import image_spec
from model_zoo.datasets.downloaded import Download, Part
from model_zoo.datasets.segmentation import SegmentationDataset, label_table

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

    name: ClassVar[str] = "cityscapes"
    task: ClassVar[str] = "semantic segmentation"
    parts = (
        Part("leftImg8bit/train", _PICTURES),
        Part("leftImg8bit/val", _PICTURES),
        Part("gtFine/train", _MASKS),
        Part("gtFine/val", _MASKS),
    )
    published = 500 + 2975
    probe: ClassVar = {"image": image_spec(32, 64)}

    classes = label_table(dict.fromkeys(range(34), IGNORED) | {v: rank for rank, v in enumerate(_SCORED)})

    def index(self) -> list[tuple[Path, Path]]:
        from torchvision.datasets import Cityscapes

        chosen = "val" if self.split == "test" else "train"
        found = Cityscapes(self.root, split=chosen, mode="fine", target_type="semantic")
        pairs = zip(found.images, found.targets, strict=True)
        return sorted((Path(image), Path(masks[0])) for image, masks in pairs if image.endswith("_leftImg8bit.png"))

    def stratum(self, index: int) -> str:
        return self.items[index][0].parent.name
