"""COCO 2017, from the folder of its validation pictures."""

from __future__ import annotations

from typing import ClassVar

from model_zoo.base.spec import InputSpec
from model_zoo.datasets.base import BaseDataset, MissingDataError, Sample, Split, data_root, split_files
from model_zoo.datasets.images import file_facts, image_files, image_input, image_tensor
from model_zoo.utils.hashing import digest
from model_zoo.utils.images import letterbox, load_image


class CocoDataset(BaseDataset):
    """`<data>/coco/val2017/*.jpg`, letterboxed to the model's input. Pictures only: there are no targets.

    One in ten pictures, at most 1000, are `calibration`, drawn with a fixed seed; all others are `test`.
    """

    name: ClassVar[str] = "coco"

    def __init__(self, spec: InputSpec, split: Split) -> None:
        super().__init__(spec, split)
        self._input, self._tensor = image_input(spec, self.name)
        self._root = data_root() / "coco" / "val2017"
        if not self._root.is_dir():
            raise MissingDataError(
                f"the COCO validation pictures are not at {self._root}",
                f"get val2017.zip from https://cocodataset.org/#download and unpack it into {self._root.parent}",
            )
        files = image_files(self._root)
        self._files = split_files(files, split, self._root)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Sample:
        height, width = self._tensor.shape[2:]
        picture, _, _ = letterbox(load_image(self._files[index]), height, width)
        return Sample({self._input: image_tensor(picture, self._tensor)})

    def fingerprint(self) -> str:
        return digest(self.name, self.split, file_facts(self._files, self._root))
