"""Set14 and BSD100: pictures made smaller, with themselves as target."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from model_zoo.base.spec import image_spec
from model_zoo.datasets.base import Sample, split_files
from model_zoo.datasets.downloaded import DatasetFile, Download, DownloadedDataset
from model_zoo.datasets.images import image_files, image_tensor
from model_zoo.datasets.photos import SCALE, shrink
from model_zoo.utils.errors import UserError
from model_zoo.utils.images import image_to_array, load_stored_image, opened_image


class SuperResolutionDataset(DownloadedDataset):
    """The middle of each picture, 4 H x 4 W pixels, as target float32 [3, 4 H, 4 W] in 0..1; the input is H x W of it.

    The input is made smaller by Pillow's bicubic filter, which widens with the factor as MATLAB's does. Published
    figures are of whole pictures, mostly of the luma alone and without a border, so they differ.
    """

    task: ClassVar[str] = "super-resolution"
    probe: ClassVar = {"image": image_spec(16, 16)}
    items: list[Path]

    def chosen(self) -> list[Path]:
        """The pictures of the split."""
        raise NotImplementedError

    def index(self) -> list[Path]:
        pictures = self.chosen()
        sizes = []
        for path in pictures:
            with opened_image(path) as image:
                sizes.append(image.size)
        height, width = (min((size[axis] for size in sizes), default=0) // SCALE for axis in (1, 0))
        if pictures and (height < self.height or width < self.width):
            largest = f"at most {height} x {width} fits all"
            raise UserError(f"{self.name} is too small for inputs of {self.height} x {self.width}", largest)
        return pictures

    def files(self) -> list[Path]:
        return self.items

    def __getitem__(self, index: int) -> Sample:
        picture = load_stored_image(self.items[index])
        height, width = SCALE * self.height, SCALE * self.width
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        target = picture.crop((left, top, left + width, top + height))
        return Sample({self.input: image_tensor(shrink(target), self.tensor)}, image_to_array(target)[0])


class Set14Dataset(SuperResolutionDataset):
    """`<data>/set14/image_SRF_4/*_HR.png`. One of the 14 is for `calibration`: better calibrate on others."""

    name = "set14"
    parts = (
        DatasetFile(
            "image_SRF_4",
            Download("Set14_SR.zip", "https://uofi.box.com/shared/static/igsnfieh4lz68l926l8xbklwsnnk8we9.zip"),
            "*_SRF_4_HR.png",
        ),
    )
    published = 14

    def chosen(self) -> list[Path]:
        pictures = [path for path in image_files(self.root / "image_SRF_4") if path.stem.endswith("_HR")]
        return split_files(pictures, self.split, self.root)


class Bsd100Dataset(SuperResolutionDataset):
    """`<data>/bsd100/images/{train,test}/*.jpg` of BSDS300: its 100 test pictures, its 200 others for `calibration`."""

    name = "bsd100"
    _DOWNLOAD: ClassVar = Download(
        "BSDS300-images.tgz",
        "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/bsds/BSDS300-images.tgz",
        "22 MB",
    )
    parts = (DatasetFile("images/train", _DOWNLOAD), DatasetFile("images/test", _DOWNLOAD))
    published = 300

    def chosen(self) -> list[Path]:
        return image_files(self.root / "images" / ("test" if self.split == "test" else "train"))
