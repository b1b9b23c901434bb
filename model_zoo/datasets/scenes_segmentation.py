"""The drawn scenes with what each pixel shows as target."""

from __future__ import annotations

from typing import ClassVar

from PIL import Image

from model_zoo.base.spec import InputSpec
from model_zoo.datasets.base import BaseDataset, Sample, Split
from model_zoo.datasets.images import image_tensor
from model_zoo.datasets.scenes import CLASSES, COUNTS, VERSION, draw_scene, square_size
from model_zoo.utils.hashing import digest

#: By value in the mask.
MASK_CLASSES = ("ground", *CLASSES)


class ScenesSegmentationDataset(BaseDataset):
    """Scenes of the size of the model's input, with a class index for each pixel as target: uint8 [H, W], see
    `MASK_CLASSES`. 1000 are to calibrate, 400 to test.
    """

    name: ClassVar[str] = "scenes_segmentation"
    task: ClassVar[str] = "semantic segmentation"
    bundled: ClassVar[bool] = True

    def __init__(self, spec: InputSpec, split: Split) -> None:
        super().__init__(spec, split)
        self._input, self._size = square_size(spec, self.name)

    def __len__(self) -> int:
        return COUNTS[self.split]

    def __getitem__(self, index: int) -> Sample:
        scene = draw_scene(self.split, index, self._size)
        image = image_tensor(Image.fromarray(scene.picture), self.spec[self._input])
        return Sample({self._input: image}, scene.mask)

    def fingerprint(self) -> str:
        return digest(self.name, self.split, VERSION, self._size, COUNTS[self.split])
