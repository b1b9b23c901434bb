"""Tell what each pixel of a picture belongs to.

Example:
    python -m model_zoo.models.unet_segmentation.demo --image scene.png
"""

from __future__ import annotations

import sys

import numpy as np

from model_zoo.datasets.scenes import draw_scene
from model_zoo.models._shared.segmentation.demo import segmentation_demo


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments, by default those of the command line; returns the exit code."""
    return segmentation_demo("unet_segmentation", argv, held_out_scene)


def held_out_scene() -> np.ndarray:
    """A scene that was not trained on, uint8 [512, 512, 3]."""
    return draw_scene("test", 0, 512).picture


if __name__ == "__main__":
    sys.exit(main())
