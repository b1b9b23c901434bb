"""ImageNet-1K, from its validation set."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from model_zoo.base.spec import image_spec
from model_zoo.datasets.base import Sample, split_files
from model_zoo.datasets.downloaded import DatasetFile, Download, DownloadedDataset, read_mat, reading
from model_zoo.datasets.images import image_files, image_tensor
from model_zoo.utils.errors import UserError
from model_zoo.utils.images import load_image, resize_and_center_crop

_CLASSES = 1000
_PAGE = "https://image-net.org/challenges/LSVRC/2012/2012-downloads.php (free account)"
_PICTURES = Download("ILSVRC2012_img_val.tar", _PAGE, "6.3 GB", "29b22e2961454d5413ddabcf34fc5622")
_DEVKIT = Download("ILSVRC2012_devkit_t12.tar.gz", _PAGE, "2.5 MB", "fa75699e90414af021442c21a62c3abf")


class ImagenetDataset(DownloadedDataset):
    """`<data>/imagenet/val/<wnid>/*.JPEG`, the layout torchvision uses; the target is the rank of the folder's name.

    Pictures are scaled to 256/224 of the model's input, and the middle is cut out. One in ten pictures, at most 1000,
    are `calibration`, drawn with a fixed seed; all others are `test`. Torchvision publishes figures for all 50,000, and
    for some weights at another scale (232/224) or with bicubic filtering, so scores differ a little.
    """

    name, task = "imagenet", "image classification"
    parts = (
        DatasetFile("val", _PICTURES, "**/*.JPEG"),
        DatasetFile("ILSVRC2012_devkit_t12", _DEVKIT, "data/meta.mat", optional=True),
    )
    published = 50_000
    probe: ClassVar = {"image": image_spec(64, 64)}
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
            raise UserError(f"{len(pictures)} pictures of imagenet, expected {len(folders)}", f"get {_PICTURES} again")
        for name in names.values():
            (root / "val" / name).mkdir()
        for path, folder in zip(pictures, folders, strict=True):
            path.rename(folder / path.name)

    def index(self) -> list[tuple[Path, int]]:
        root = self.root / "val"
        folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        if len(folders) != _CLASSES:
            raise UserError(
                f"{root} holds {len(folders)} class folders, expected {_CLASSES}",
                "the rank of a folder's name is its class, so all of them must be there, empty ones too",
            )
        samples = [(file, target) for target, folder in enumerate(folders) for file in image_files(folder)]
        return split_files(samples, self.split, root)

    def stratum(self, index: int) -> int:
        return self.items[index][1]

    def __getitem__(self, index: int) -> Sample:
        path, target = self.items[index]
        picture = resize_and_center_crop(load_image(path), self.height, self.width)
        return Sample({self.input: image_tensor(picture, self.tensor)}, target)
