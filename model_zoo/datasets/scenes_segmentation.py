"""The drawn scenes with what each pixel shows as target."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from model_zoo.datasets.scenes import CLASSES, Scene, ScenesDataset

#: By value in the mask.
MASK_CLASSES = ("ground", *CLASSES)


class ScenesSegmentationDataset(ScenesDataset):
    """Scenes of the size of the model's input, with a class index for each pixel as target: uint8 [H, W], see
    `MASK_CLASSES`. 1000 are to calibrate, 400 to test.
    """

    name: ClassVar[str] = "scenes_segmentation"
    task: ClassVar[str] = "semantic segmentation"

    def _target(self, scene: Scene) -> np.ndarray:
        return scene.mask
