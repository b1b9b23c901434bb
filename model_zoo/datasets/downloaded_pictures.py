"""Downloaded pictures with a class, a mask, depths or themselves as target."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from model_zoo.base.annotation import IGNORED
from model_zoo.base.spec import image_spec
from model_zoo.datasets.base import Sample, split_files
from model_zoo.datasets.downloaded import DatasetFile, Download, DownloadedDataset, read_mat, reader, reading
from model_zoo.datasets.images import image_files
from model_zoo.datasets.photos import SCALE, shrink
from model_zoo.utils.errors import UserError
from model_zoo.utils.images import (
    image_to_array,
    letterbox,
    load_image,
    load_stored_image,
    opened_image,
    resize_and_center_crop,
)

_IMAGENET = "https://image-net.org/challenges/LSVRC/2012/2012-downloads.php (free account)"
_DEVKIT = Download("ILSVRC2012_devkit_t12.tar.gz", _IMAGENET, "2.5 MB", "fa75699e90414af021442c21a62c3abf")
_CITYSCAPES = "https://www.cityscapes-dataset.com/downloads (free account)"
_NYU = "http://horatio.cs.nyu.edu/mit/silberman"

#: The labels of Cityscapes that are scored, in the order of their train ids: road, sidewalk, building, …, bicycle.
_SCORED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


class ImagenetDataset(DownloadedDataset):
    """`<data>/imagenet/val/<wnid>/*.JPEG`, the layout torchvision uses; the target is the rank of the folder's name.

    Pictures are scaled to 256/224 of the model's input, and the middle is cut out. One in ten pictures, at most 1000,
    are `calibration`, drawn with a fixed seed; all others are `test`. Torchvision publishes figures for all 50,000, and
    for some weights at another scale (232/224) or with bicubic filtering, so scores differ a little.
    """

    name, task = "imagenet", "image classification"
    _PICTURES: ClassVar = Download("ILSVRC2012_img_val.tar", _IMAGENET, "6.3 GB", "29b22e2961454d5413ddabcf34fc5622")
    parts = (
        DatasetFile("val", _PICTURES, "**/*.JPEG"),
        DatasetFile("ILSVRC2012_devkit_t12", _DEVKIT, "data/meta.mat", optional=True),
    )
    published = 50_000
    items: list[tuple[Path, int]]

    @classmethod
    def arrange(cls, root: Path) -> None:
        """Sort the pictures of the archive, which lie side by side, into a folder for each class."""
        pictures = image_files(root / "val")
        if not pictures:
            return
        data = root / "ILSVRC2012_devkit_t12" / "data"
        if not data.is_dir():
            message = f"the classes of the pictures are not known without {_DEVKIT.name}"
            raise UserError(message, f"get {_DEVKIT} and give both")
        with reading(data):
            synsets = read_mat(data / "meta.mat")["synsets"]
            names = {int(each["ILSVRC2012_ID"]): str(each["WNID"]) for each in synsets if each["num_children"] == 0}
            truth = (data / "ILSVRC2012_validation_ground_truth.txt").read_text().split()
            folders = [root / "val" / names[int(number)] for number in truth]
        if len(folders) != len(pictures):
            message = f"{len(pictures)} pictures of imagenet, expected {len(folders)}"
            raise UserError(message, f"get {cls._PICTURES} again")
        for name in names.values():
            (root / "val" / name).mkdir()
        for path, folder in zip(pictures, folders, strict=True):
            path.rename(folder / path.name)

    def index(self) -> list[tuple[Path, int]]:
        root = self.root / "val"
        folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        if len(folders) != 1000:
            raise UserError(
                f"{root} holds {len(folders)} class folders, expected 1000",
                "the rank of a folder's name is its class, so all of them must be there, empty ones too",
            )
        samples = [(file, target) for target, folder in enumerate(folders) for file in image_files(folder)]
        return split_files(samples, self.split, root)

    def stratum(self, index: int) -> int:
        return self.items[index][1]

    def __getitem__(self, index: int) -> Sample:
        path, target = self.items[index]
        return self.sample(resize_and_center_crop(load_image(path), self.height, self.width), target)


class SuperResolutionDataset(DownloadedDataset):
    """The middle of each picture, 4 H x 4 W pixels, as target float32 [3, 4 H, 4 W] in 0..1; the input is H x W of it.

    The input is made smaller by Pillow's bicubic filter, which widens with the factor as MATLAB's does. Published
    figures are of whole pictures, mostly of the luma alone and without a border, so they differ.
    """

    #: Of the pictures: their folder, {} being the split's name, and what their names are like.
    folder: ClassVar[str]
    pattern: ClassVar[str] = "*"

    task: ClassVar[str] = "super-resolution"
    probe: ClassVar = {"image": image_spec(16, 16)}
    items: list[tuple[Path]]

    def index(self) -> list[tuple[Path]]:
        files = image_files(self.root / self.folder.format(self.published_split))
        pictures, sizes = [path for path in files if path.match(self.pattern)], []
        if not self.published_splits:
            pictures = split_files(pictures, self.split, self.root)
        for path in pictures:
            with opened_image(path) as image:
                sizes.append(image.size)
        height, width = (min((size[axis] for size in sizes), default=0) // SCALE for axis in (1, 0))
        if pictures and (height < self.height or width < self.width):
            largest = f"at most {height} x {width} fits all"
            raise UserError(f"{self.name} is too small for inputs of {self.height} x {self.width}", largest)
        return [(path,) for path in pictures]

    def __getitem__(self, index: int) -> Sample:
        picture = load_stored_image(self.items[index][0])
        height, width = SCALE * self.height, SCALE * self.width
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        target = picture.crop((left, top, left + width, top + height))
        return self.sample(shrink(target), image_to_array(target)[0])


class Set14Dataset(SuperResolutionDataset):
    """`<data>/set14/image_SRF_4/*_HR.png`. One of the 14 is for `calibration`: better calibrate on others."""

    name = "set14"
    _DOWNLOAD: ClassVar = Download(
        "Set14_SR.zip", "https://uofi.box.com/shared/static/igsnfieh4lz68l926l8xbklwsnnk8we9.zip"
    )
    parts = (DatasetFile("image_SRF_4", _DOWNLOAD, "*_SRF_4_HR.png"),)
    folder, pattern = "image_SRF_4", "*_HR.*"
    published = 14


class Bsd100Dataset(SuperResolutionDataset):
    """`<data>/bsd100/images/{train,test}/*.jpg` of BSDS300: its 100 test pictures, its 200 others for `calibration`."""

    name = "bsd100"
    _DOWNLOAD: ClassVar = Download(
        "BSDS300-images.tgz",
        "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/bsds/BSDS300-images.tgz",
        "22 MB",
    )
    parts = (DatasetFile("images/train", _DOWNLOAD), DatasetFile("images/test", _DOWNLOAD))
    published = 100 + 200
    folder = "images/{}"
    published_splits: ClassVar = {"test": "test", "calibration": "train"}


class SegmentationDataset(DownloadedDataset):
    """Pictures letterboxed to the model's input; the target is uint8 [H, W] of class indices.

    The mask is scaled alike, but by the nearest pixel, and is `IGNORED` beside the picture. `test` is the list that is
    published as val, `calibration` the list train.
    """

    #: Class index by value in the mask's file; all other values must not be there.
    classes: ClassVar[dict[int, int]]

    task: ClassVar[str] = "semantic segmentation"
    published_splits: ClassVar = {"test": "val", "calibration": "train"}
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
        labels = np.array([self.classes.get(value, -1) for value in range(256)])[values]
        if labels.min() < 0:
            raise UserError(f"{mask_path} holds the label {values[labels < 0][0]}, which {self.name} has not")
        picture, scale, corner = letterbox(image, self.height, self.width)
        size = [min(side, max(1, round(scale * old))) for side, old in zip(picture.size, image.size, strict=True)]
        canvas = Image.new("L", picture.size, IGNORED)
        canvas.paste(Image.fromarray(labels.astype(np.uint8)).resize(size, Image.Resampling.NEAREST), corner)
        return self.sample(picture, np.array(canvas))


class CityscapesDataset(SegmentationDataset):
    """`<data>/cityscapes/{leftImg8bit,gtFine}`: the 19 classes that are scored, by train id; all others are `IGNORED`.

    There are 500 pictures of 3 cities to test, and 2975 of 18 others. The stratum is the city.
    """

    name = "cityscapes"
    parts = tuple(
        DatasetFile(f"{folder}/{split}", Download(f"{folder}_trainvaltest.zip", _CITYSCAPES, size))
        for folder, size in (("leftImg8bit", "11 GB"), ("gtFine", "241 MB"))
        for split in ("train", "val")
    )
    published = 500 + 2975
    probe: ClassVar = {"image": image_spec(32, 64)}
    classes: ClassVar = dict.fromkeys(range(34), IGNORED) | {label: rank for rank, label in enumerate(_SCORED)}

    def index(self) -> list[tuple[Path, Path]]:
        pictures = sorted((self.root / "leftImg8bit" / self.published_split).glob("*/*_leftImg8bit.png"))
        masks = self.root / "gtFine" / self.published_split
        name = "{}_gtFine_labelIds.png".format
        return [(path, masks / path.parent.name / name(path.stem.removesuffix("_leftImg8bit"))) for path in pictures]

    def stratum(self, index: int) -> str:
        return self.items[index][0].parent.name


class VocDataset(SegmentationDataset):
    """`<data>/voc/VOCdevkit/VOC2012`: 21 classes with the background; borders of objects are `IGNORED`."""

    name = "voc"
    _DOWNLOAD: ClassVar = Download(
        "VOCtrainval_11-May-2012.tar",
        "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        "1.9 GB",
        "6cd6e144f989b92b3379bac3b3de84fd",
    )
    parts = (DatasetFile("VOCdevkit/VOC2012", _DOWNLOAD, "ImageSets/Segmentation/val.txt"),)
    published = 1449 + 1464
    classes: ClassVar = {**{index: index for index in range(21)}, 255: IGNORED}

    def index(self) -> list[tuple[Path, Path]]:
        folder = self.root / "VOCdevkit" / "VOC2012"
        with reading(folder / "ImageSets" / "Segmentation" / f"{self.published_split}.txt") as path:
            names = path.read_text("utf-8").split()
        return [(folder / "JPEGImages" / f"{n}.jpg", folder / "SegmentationClass" / f"{n}.png") for n in names]


class NyuDepthDataset(DownloadedDataset):
    """`<data>/nyu_depth_v2/nyu_depth_v2_labeled.mat`; the target is float32 [H, W] in metres, 0: not measured.

    Pictures are scaled to cover the model's input and the middle is cut out, depths alike by the nearest pixel. The
    measured depths (rawDepths) are taken, not those that were filled in. `test` and `calibration` are the 654 test and
    795 training pictures of splits.mat.
    """

    name, task = "nyu_depth_v2", "depth estimation"
    _DEPTHS: ClassVar = Download(
        "nyu_depth_v2_labeled.mat",
        f"{_NYU}/nyu_depth_v2/nyu_depth_v2_labeled.mat",
        "2.8 GB",
        "520609c519fba3ba5ac58c8fefcc3530",
    )
    parts = (
        DatasetFile("nyu_depth_v2_labeled.mat", _DEPTHS),
        DatasetFile("splits.mat", Download("splits.mat", f"{_NYU}/indoor_seg_sup/splits.mat")),
    )
    published = 654 + 795
    published_splits: ClassVar = {"test": "testNdxs", "calibration": "trainNdxs"}
    probe: ClassVar = {"image": image_spec(48, 64)}
    items: list[tuple[Path, int]]

    def index(self) -> list[tuple[Path, int]]:
        with reading(self.root / "splits.mat") as path:  # MATLAB counts from 1
            numbers = sorted(int(number) - 1 for number in np.ravel(read_mat(path)[self.published_split]))
        return [(self.root / "nyu_depth_v2_labeled.mat", number) for number in numbers]

    def __getitem__(self, index: int) -> Sample:
        path, number = self.items[index]
        try:
            with reader("h5py", self.name).File(path, "r") as file:
                pixels = np.asarray(file["images"][number]).transpose(2, 1, 0)  # MATLAB stores columns first
                metres = np.asarray(file["rawDepths"][number], np.float32).T
        except (OSError, KeyError, IndexError, ValueError) as error:
            raise UserError(f"cannot read picture {number} of {path}: {error}", self.how_to_get()) from error
        if pixels.dtype != np.uint8 or pixels.shape != (*metres.shape, 3) or not (metres >= 0).all():
            raise UserError(f"{path}: picture {number} and its depths do not fit")
        size = (self.width, self.height)
        box = middle_of(size, metres.shape[::-1])
        picture = Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BILINEAR, box)
        depth = Image.fromarray(np.ascontiguousarray(metres)).resize(size, Image.Resampling.NEAREST, box)
        return self.sample(picture, np.array(depth, np.float32))


def middle_of(size: tuple[int, int], picture: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest part in the middle of a picture that has the proportions of a size, as left, top, right and bottom.

    Args:
        size: Width and height.
        picture: Width and height of the picture.
    """
    scale = max(wanted / whole for wanted, whole in zip(size, picture, strict=True))
    across, down = (min(wanted / scale, whole) for wanted, whole in zip(size, picture, strict=True))
    left, top = (picture[0] - across) / 2, (picture[1] - down) / 2
    return left, top, min(left + across, picture[0]), min(top + down, picture[1])
