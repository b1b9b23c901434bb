"""ImageNet-1K, from the folders of the validation set."""

from __future__ import annotations

from typing import ClassVar

from model_zoo.base.spec import InputSpec
from model_zoo.datasets.base import BaseDataset, MissingDataError, Sample, Split, data_root, split_files
from model_zoo.datasets.images import file_facts, image_files, image_input, image_tensor
from model_zoo.utils.errors import UserError
from model_zoo.utils.hashing import digest
from model_zoo.utils.images import load_image, resize_and_center_crop

_CLASSES = 1000


class ImagenetDataset(BaseDataset):
    """`<data>/imagenet/val/<wnid>/*.JPEG`, the layout torchvision uses; the target is the rank of the folder's name.

    Pictures are scaled to 256/224 of the model's input, and the middle is cut out. One in ten pictures, at most 1000,
    are `calibration`, drawn with a fixed seed; all others are `test`. Torchvision publishes figures for all 50,000, and
    for some weights at another scale (232/224) or with bicubic filtering, so scores differ a little.
    """

    name: ClassVar[str] = "imagenet"

    def __init__(self, spec: InputSpec, split: Split) -> None:
        super().__init__(spec, split)
        self._input, self._tensor = image_input(spec, self.name)
        self._root = data_root() / "imagenet" / "val"
        if not self._root.is_dir():
            raise MissingDataError(
                f"the ImageNet validation set is not at {self._root}",
                "get ILSVRC2012_img_val.tar from https://image-net.org/download-images (free account), sort it into "
                f"one folder per class (n01440764, …) and put those 1000 folders into {self._root}",
            )
        folders = sorted(path for path in self._root.iterdir() if path.is_dir() and not path.name.startswith("."))
        if len(folders) != _CLASSES:
            raise UserError(
                f"{self._root} holds {len(folders)} class folders, expected {_CLASSES}",
                "the rank of a folder's name is its class, so all of them must be there, empty ones too",
            )
        files = [(file, target) for target, folder in enumerate(folders) for file in image_files(folder)]
        self._files = split_files(files, split, self._root)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Sample:
        path, target = self._files[index]
        height, width = self._tensor.shape[2:]
        picture = resize_and_center_crop(load_image(path), height, width)
        return Sample({self._input: image_tensor(picture, self._tensor)}, target)

    def fingerprint(self) -> str:
        return digest(self.name, self.split, file_facts([path for path, _ in self._files], self._root))
