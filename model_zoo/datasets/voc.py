"""Pascal VOC 2012 segmentation."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from model_zoo.base.annotation import IGNORED
from model_zoo.base.spec import image_spec
from model_zoo.datasets.downloaded import Download, Part, reading
from model_zoo.datasets.segmentation import SegmentationDataset, label_table

_DOWNLOAD = Download(
    "VOCtrainval_11-May-2012.tar",
    "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
    "1.9 GB",
    "6cd6e144f989b92b3379bac3b3de84fd",
)


class VocDataset(SegmentationDataset):
    """`<data>/voc/VOCdevkit/VOC2012`: 21 classes with the background; borders of objects are `IGNORED`.

    `test` is the list val (1449 pictures), `calibration` the list train (1464).
    """

    name: ClassVar[str] = "voc"
    task: ClassVar[str] = "semantic segmentation"
    parts = (Part("VOCdevkit/VOC2012", _DOWNLOAD, "ImageSets/Segmentation/val.txt"),)
    published = 1449 + 1464
    probe: ClassVar = {"image": image_spec(64, 64)}
    classes = label_table({**{index: index for index in range(21)}, 255: IGNORED})

    def index(self) -> list[tuple[Path, Path]]:
        from torchvision.datasets import VOCSegmentation

        chosen = "val" if self.split == "test" else "train"
        with reading(self.root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation" / f"{chosen}.txt"):
            found = VOCSegmentation(self.root, year="2012", image_set=chosen)
        return [(Path(image), Path(mask)) for image, mask in zip(found.images, found.masks, strict=True)]
